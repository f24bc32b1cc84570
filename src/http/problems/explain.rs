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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use axum::http::StatusCode;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;

    async fn asked(path: &str, language: &str, accept: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::get(path)
            .header(header::ACCEPT_LANGUAGE, language)
            .header(header::ACCEPT, accept);
        let front = crate::http::router(AppState::without_stores(&[]));
        let answer = front.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, String::from_utf8(body.into()).unwrap())
    }

    #[tokio::test]
    async fn a_program_is_told_what_a_kind_of_failure_means() {
        let (status, headers, body) = asked("/problems/request-timeout", "en", "*/*").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        let vary: Vec<_> = headers.get_all(header::VARY).iter().collect();
        assert!(vary.contains(&&HeaderValue::from_static("accept")), "{vary:?}");
        assert_eq!(
            serde_json::from_str::<Value>(&body).unwrap(),
            json!({
                "type": "https://api.dealix.me/problems/request-timeout",
                "code": "request-timeout",
                "status": 504,
                "title": "Request timed out",
                "detail": "The request took too long and was given up. Try again later.",
                "retryable": true,
            })
        );
    }

    #[tokio::test]
    async fn a_browser_is_shown_a_page_in_its_language_that_can_load_nothing() {
        let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
        for (language, start, title) in [
            ("en", "<html lang=\"en\" dir=\"ltr\">", "Plan not found"),
            ("ar", "<html lang=\"ar\" dir=\"rtl\">", "الباقة غير موجودة"),
        ] {
            let (status, headers, page) = asked("/problems/plan-not-found", language, accept).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
            assert_eq!(headers[header::CONTENT_SECURITY_POLICY], POLICY);
            assert!(page.contains(start) && page.contains(title), "{page}");
            assert!(page.contains("404 plan-not-found"), "{page}");
        }
    }

    #[tokio::test]
    async fn a_kind_that_does_not_exist_is_a_failure_itself() {
        let (status, _, body) = asked("/problems/plan_not_found", "en", "text/html").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["code"], "problem-not-found");
    }
}
