//! Pages for people, and the files they are made of.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::AppState;
use crate::http::extract::Path;
use crate::http::problem::Problem;

mod checkout;

/// A page runs our own script and style, calls us, and nothing else.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().merge(checkout::routes()).routes(routes!(find_static_file))
}

/// A file that pages are made of.
#[utoipa::path(
    get, path = "/static/{name}", tag = "pages",
    params(("name" = String, Path, description = "The file's name", example = "page.css")),
    responses(
        (status = 200, description = "The file", content((String = "text/css"), (String = "text/javascript"), (String = "image/svg+xml"))),
        (status = 404, description = "`route-not-found`"),
    ),
)]
async fn find_static_file(Path(name): Path<String>) -> Result<Response, Problem> {
    let (kind, body) = match name.as_str() {
        "page.css" => ("text/css; charset=utf-8", include_str!("../../../static/page.css")),
        "checkout.js" => {
            ("text/javascript; charset=utf-8", include_str!("../../../static/checkout.js"))
        }
        "icon.svg" => ("image/svg+xml", include_str!("../../../static/icon.svg")),
        _ => return Err(Problem::RouteNotFound),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
    ];
    Ok((headers, body).into_response())
}
