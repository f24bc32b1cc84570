//! Whoever is on call, on the wire: takes what they are told, and remembers it.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::shelf::Shelf;
use crate::world::{World, lock};

/// What arrived so far.
#[derive(Debug)]
pub(crate) struct Pager {
    messages: Shelf<Value>,
}

impl Pager {
    pub(crate) fn new(limit: usize) -> Self {
        Self { messages: Shelf::bounded(limit) }
    }

    pub(crate) fn messages(&self) -> Vec<Value> {
        self.messages.oldest_first().cloned().collect()
    }
}

pub(crate) fn routes() -> Router<World> {
    Router::new().route("/alerts", post(receive_alert))
}

async fn receive_alert(State(world): State<World>, body: Bytes) -> Response {
    let Ok(message) = serde_json::from_slice(&body) else {
        return refusal(StatusCode::BAD_REQUEST, "not JSON");
    };
    lock(&world.pager).messages.insert(&Uuid::new_v4().to_string(), message);
    StatusCode::NO_CONTENT.into_response()
}

/// The body of a refusal.
pub(crate) fn refusal(status: StatusCode, detail: &str) -> Response {
    (status, Json(json!({"detail": detail}))).into_response()
}
