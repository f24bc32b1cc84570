//! How we are asked: routes, extractors and the shape of every answer.

use axum::Router;

use crate::app::AppState;

/// Every route of the service.
pub(crate) fn router(state: AppState) -> Router {
    Router::new().with_state(state)
}
