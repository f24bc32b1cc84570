//! How we are asked: routes, extractors and the shape of every answer.

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

use crate::app::AppState;

pub mod auth;
mod checkout;
mod edge;
mod extract;
mod language;
mod pages;
mod pricing;
mod problem;
mod problems;
mod public;
mod settings;
mod webhooks;

pub use edge::Front;
pub use pricing::PriceList;
pub use settings::Settings;

use edge::{EdgeLayer, GuardLayer};
use problem::Problem;

/// Every documented route.
fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(pricing::routes())
        .merge(checkout::routes())
        .merge(webhooks::routes())
        .merge(public::routes())
        .merge(pages::routes())
}

/// The whole service.
pub(crate) fn router(state: AppState) -> Front {
    let settings = Arc::clone(&state.http);
    let (router, _) = routes().split_for_parts();
    let layers = (EdgeLayer::new(Arc::clone(&settings)), GuardLayer::new(settings.request_timeout));
    let router = router.fallback(async || Problem::RouteNotFound).layer(layers).with_state(state);
    Front::new(router)
}
