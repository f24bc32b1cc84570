//! How we are asked: routes, extractors and the shape of every answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;

use crate::app::AppState;

mod audit;
mod auth;
mod breakers;
mod checkout;
mod deep_health;
mod dlq;
mod docs;
mod edge;
mod etag;
mod extract;
mod health;
mod idempotency;
mod language;
mod metrics;
mod pages;
mod pricing;
mod problem;
mod problems;
mod public;
mod reviews;
mod sentry_check;
pub mod server;
mod settings;
mod status;
mod stories;
#[cfg(test)]
mod tests;
mod webhooks;

pub use docs::openapi;
pub use edge::{Front, RateLimits};
pub use extract::LARGE_BODIES;
pub(crate) use metrics::open_router as metrics_router;
pub use pricing::PriceList;
pub use settings::{Rates, Settings};

use edge::{EdgeLayer, GuardLayer};
use problem::Problem;

/// Every route of the service.
fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(docs::document())
        .merge(health::routes())
        .merge(deep_health::routes())
        .merge(metrics::routes())
        .merge(sentry_check::routes())
        .merge(pricing::routes())
        .merge(checkout::routes())
        .merge(webhooks::routes())
        .merge(public::routes())
        .merge(pages::routes())
        .merge(breakers::routes())
        .merge(reviews::routes())
        .merge(status::routes())
        .merge(stories::routes())
        .merge(audit::routes())
        .merge(dlq::routes())
        .merge(problems::routes())
        .merge(docs::routes())
}

/// The whole service.
pub(crate) fn router(state: AppState) -> Front {
    let (router, _) = routes().split_for_parts();
    dress(router, state)
}

/// Puts every route inside its guard, CORS, and the edge.
fn dress(router: Router<AppState>, state: AppState) -> Front {
    let settings = Arc::clone(&state.http);
    let layers = (
        EdgeLayer::new(Arc::clone(&settings), state.access.clone(), state.clock.clone()),
        cors(&settings),
        GuardLayer::new(Arc::clone(&state.limits), settings.request_timeout),
    );
    let router = router.fallback(async || Problem::RouteNotFound).layer(layers);
    Front::new(router.with_state(state))
}

/// Which browsers may call us, and what they may see of our answers.
fn cors(settings: &Settings) -> CorsLayer {
    let origins = &settings.cors_origins;
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().cloned())
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            edge::REQUEST_ID,
            header::RETRY_AFTER,
            header::ETAG,
            idempotency::REPLAYED,
            HeaderName::from_static("ratelimit"),
            HeaderName::from_static("ratelimit-policy"),
        ])
        .max_age(Duration::from_hours(1))
}
