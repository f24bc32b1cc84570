//! Where an operator's orders are given: the running API, or, while it is down, the same routes in this
//! very process, on the stores themselves.

use std::time::Duration;

use anyhow::Context;
use axum::body::{Body, Bytes};
use axum::http::{Method, Response, StatusCode, request};
use serde_json::Value;
use tower::ServiceExt;

use super::Output;
use super::api::{Api, Said, Unanswered, question, read, whole};
use super::assembled::assemble;
use crate::access::{Caller, Insider, Scope};
use crate::app::App;
use crate::config::Loaded;

/// How long an order may take: longer than the service gives its longest.
const PATIENCE: Duration = Duration::from_secs(35);

/// See the module.
pub(super) struct Desk {
    at: At,
}

enum At {
    Api(Api),
    Stores { app: Box<App>, caller: Caller },
}

impl Desk {
    /// Looks whether the API answers, and says so if it does not. `actor` is who stands in the audit:
    /// behind `token:` where the API is asked, and behind `shell:` where it is not.
    pub async fn open(actor: &str, loaded: &Loaded, out: &mut Output) -> anyhow::Result<Self> {
        let down = match Api::speaking_for(actor, loaded) {
            Some(api) => match api.get("/health").await {
                Ok(_) => return Ok(Self { at: At::Api(api) }),
                Err(down @ Unanswered::Down { .. }) => down.to_string(),
                Err(refused @ Unanswered::Refused { .. }) => return Err(refused.into()),
            },
            None => "neither JWT_SECRET_KEY nor ADMIN_API_KEYS is set: no API can be asked".into(),
        };
        out.complain(&format!("{down}; working on the stores themselves"))?;
        let caller = Caller { name: format!("shell:{actor}").into(), scope: Scope::Admin };
        Ok(Self { at: At::Stores { app: Box::new(assemble(&loaded.config)?), caller } })
    }

    /// Whether no service runs here that would go on by itself.
    pub const fn is_alone(&self) -> bool {
        matches!(self.at, At::Stores { .. })
    }

    /// Takes a redrive a page further where no service does it; `false` when none is due.
    pub async fn redrive(&self) -> anyhow::Result<bool> {
        match &self.at {
            At::Api(_) => Ok(false),
            At::Stores { app, .. } => {
                follow_overrides(app).await;
                app.state().operate.redrives.step().await
            }
        }
    }

    /// What a look at a path shows.
    pub async fn look(&self, path: &str) -> anyhow::Result<Said> {
        Ok(self.ask_in_time(Method::GET, path, None).await?)
    }

    /// What becomes of an order.
    pub async fn order(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Said> {
        self.order_in_words(method, path, body.to_string()).await
    }

    /// The same with a body that is JSON already.
    pub async fn order_in_words(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<Said> {
        match self.ask_in_time(method, path, Some(body)).await {
            Err(down @ Unanswered::Down { .. }) => {
                Err(down).context("whether it was carried out is not known; give the order again")
            }
            answered => Ok(answered?),
        }
    }

    /// Asks again when who asked too often may ask again: long work is many questions.
    async fn ask_in_time(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Said, Unanswered> {
        loop {
            match self.ask(method.clone(), path, body.clone()).await {
                Err(Unanswered::Refused {
                    status: StatusCode::TOO_MANY_REQUESTS,
                    retry_after: Some(wait),
                    ..
                }) => tokio::time::sleep(wait).await,
                answered => return answered,
            }
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Said, Unanswered> {
        let (app, caller) = match &self.at {
            At::Api(api) => return api.ask(method, path, body, PATIENCE).await,
            At::Stores { app, caller } => (app, caller),
        };
        if !method.is_safe() {
            follow_overrides(app).await;
        }
        let answer = answer_here(app, caller, question(method, path), body).await;
        let broken = |error: anyhow::Error| Unanswered::Refused {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            detail: format!("{error:#}"),
            retry_after: None,
        };
        read(&answer.map_err(broken)?)
    }
}

/// Whom operators have cut off is not called from here either. While Postgres cannot say who that is,
/// nothing is replayed.
async fn follow_overrides(app: &App) {
    let _unknown = app.follow_overrides().await;
}

/// What the routes of this process answer to whoever runs it.
async fn answer_here(
    app: &App,
    caller: &Caller,
    question: request::Builder,
    body: Option<String>,
) -> anyhow::Result<Response<Bytes>> {
    let question = question.extension(Insider(caller.clone()));
    let question = question.body(body.map_or_else(Body::empty, Body::from))?;
    let Ok(answer) = app.router().oneshot(question).await;
    let (parts, body) = answer.into_parts();
    Ok(Response::from_parts(parts, whole(body).await?))
}
