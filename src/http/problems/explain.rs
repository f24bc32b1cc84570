//! `GET /problems/{code}`: where the `type` of every failure leads.

use askama::Template;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::AppState;
use crate::http::edge::RequestContext;
use crate::http::extract::{Json, Path};
use crate::http::problem::Problem;
use crate::http::problems::Code;

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; \
     form-action 'none'",
);

pub(in crate::http) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(explain_problem))
}

/// What a kind of failure means.
#[derive(Serialize, ToSchema)]
struct Explanation {
    #[serde(rename = "type")]
    #[schema(examples("https://api.dealix.me/problems/plan-not-found"))]
    kind: String,
    code: Code,
    /// The HTTP status it always has.
    #[schema(examples(404))]
    status: u16,
    #[schema(examples("Plan not found"))]
    title: &'static str,
    #[schema(examples("There is no such plan. The plans are listed at /api/v1/pricing/plans."))]
    detail: &'static str,
    /// Whether the same request may succeed later.
    retryable: bool,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Page {
    lang: &'static str,
    dir: &'static str,
    problem: Explanation,
}

/// What a kind of failure means
#[utoipa::path(
    get,
    path = "/problems/{code}",
    tag = "docs",
    params(("code" = String, Path, description = "The `code` of a failure", example = "plan-not-found")),
    responses(
        (status = 200, description = "The explanation, as a page if HTML is asked for", content(
            (Explanation = "application/json"),
            (String = "text/html"),
        )),
        (status = 404, description = "`problem-not-found`"),
    ),
)]
async fn explain_problem(
    Path(name): Path<String>,
    context: RequestContext,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let code = Code::named(&name).ok_or(Problem::UnknownCode)?;
    let language = context.language();
    let texts = code.texts(language);
    let problem = Explanation {
        kind: code.url(),
        code,
        status: code.status().as_u16(),
        title: texts.title,
        detail: texts.detail,
        retryable: code.is_retryable(),
    };
    let vary = [(header::VARY, HeaderValue::from_static("accept"))];
    if !wants_html(&headers) {
        return Ok((vary, Json(problem)).into_response());
    }
    let page = Page { lang: language.tag(), dir: language.direction(), problem };
    let html = page.render().map_err(|error| Problem::Internal(error.into()))?;
    Ok((vary, [(header::CONTENT_SECURITY_POLICY, POLICY)], Html(html)).into_response())
}

/// Whether a browser asks: only browsers name this type.
fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    accepted.filter_map(|value| value.to_str().ok()).any(|value| value.contains("text/html"))
}
