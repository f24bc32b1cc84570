//! `/api/v1/admin/status`: the one screen.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::AppState;
use crate::domain::status::{Report, report};
use crate::flows::health::show_status::{Asked, ShowStatus};
use crate::http::auth::AdminReader;
use crate::http::extract::Json;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(show_problems))
}

/// What is wrong, since when, whom it concerns, how much money, and the one thing to do next.
///
/// Always 200, within two seconds, also while a store is away: that is then a problem of the list.
#[utoipa::path(
    get, path = "/api/v1/admin/status", tag = "admin",
    responses((status = 200, description = "The problems, worst first", body = Report)),
    security(("api_key" = ["admin:read"]), ("bearer" = ["admin:read"])),
)]
async fn show_problems(_: AdminReader, State(show_status): State<ShowStatus>) -> Json<Report> {
    Json(report(&show_status.facts(Asked::ByTheApi).await))
}
