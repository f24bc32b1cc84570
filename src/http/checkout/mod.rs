//! Buying a plan: `/api/v1/pricing/checkout` for visitors, `/api/v1/checkout` for our services, and
//! where a checkout stands. Here is what they share.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::AppState;
use crate::domain::email::Email;
use crate::domain::phone::Phone;
use crate::flows::checkout::start_checkout::{Answer, CheckoutError, Order, StartCheckout};
use crate::flows::idempotency::IdempotencyKey;
use crate::http::problem::Problem;
use crate::http::problems::Fault;
use crate::tasks::Tasks;

mod services;
mod status;
mod visitors;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(visitors::start_checkout))
        .routes(routes!(services::start_service_checkout))
        .routes(routes!(status::find_checkout))
}

/// A client that hangs up must not leave an invoice behind that nobody remembers.
async fn to_its_end(
    tasks: &Tasks,
    flow: StartCheckout,
    order: Order,
    key: Option<IdempotencyKey>,
) -> Result<Result<Answer, CheckoutError>, Problem> {
    let done = tasks.finish(async move { flow.run(order, key).await }).await;
    done.map_err(|panic| {
        Problem::Internal(anyhow::anyhow!("starting a checkout panicked: {panic}"))
    })
}

/// Forms send empty texts for what was not filled in.
pub(in crate::http) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// A text of 1 to `max` characters, its Arabic byte for byte, without the blanks around it.
pub(in crate::http) fn short_text(text: String, max: usize) -> Result<String, Fault> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(Fault::Required);
    }
    if trimmed.chars().count() > max {
        return Err(Fault::TooLong { max });
    }
    Ok(if trimmed.len() == text.len() { text } else { trimmed.to_owned() })
}

pub(in crate::http) fn email(text: &str) -> Result<Email, Fault> {
    Email::parse(text).map_err(|_| Fault::InvalidEmail)
}

pub(in crate::http) fn phone(text: &str) -> Result<Phone, Fault> {
    Phone::parse(text).map_err(|_| Fault::InvalidPhone)
}
