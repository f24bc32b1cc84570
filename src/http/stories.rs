//! `/api/v1/admin/explain/{id}` and `/api/v1/admin/checkouts/{id}/timeline`: what an id is the name of,
//! and everything that ever happened to it.

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::app::AppState;
use crate::domain::checkout::{CheckoutId, Locale};
use crate::domain::story::Story;
use crate::flows::tell_story::{StoryError, TellStory};
use crate::http::auth::AdminReader;
use crate::http::dlq::unavailable;
use crate::http::edge::RequestContext;
use crate::http::extract::{Json, Path};
use crate::http::language::Language;
use crate::http::problem::Problem;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(explain_id)).routes(routes!(show_timeline))
}

/// What an id is the name of, everything that belongs to it, and what happened to it in order.
///
/// A request, an event (by our id or Moyasar's), a payment, an invoice, a checkout, a review, a dead
/// letter, or the e-mail address of a customer.
#[utoipa::path(
    get, path = "/api/v1/admin/explain/{id}", tag = "admin",
    params(("id" = String, Path, description = "Any id, or an e-mail address", example = "b61e6ba5-3682-4dd6-b804-69b84b2d451c")),
    responses(
        (status = 200, description = "Its story; the newest 200 happenings, oldest first", body = Story),
        (status = 404, description = "`id-not-found`"),
        (status = 503, description = "`storage-unavailable`, or `queue-unavailable` where only a queue could know"),
    ),
    security(("api_key" = ["admin:read"]), ("bearer" = ["admin:read"])),
)]
async fn explain_id(
    _: AdminReader,
    State(flow): State<TellStory>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Story>, Problem> {
    flow.run(&id, locale(&context)).await?.map(Json).ok_or(Problem::IdNotFound)
}

/// Everything that ever happened to a checkout, in order.
#[utoipa::path(
    get, path = "/api/v1/admin/checkouts/{id}/timeline", tag = "admin",
    params(("id" = String, Path, description = "The checkout", example = "0f8d6c2e-2f0a-4a57-9a3c-6f1d1c2b3a4d")),
    responses(
        (status = 200, description = "Its story; the newest 200 happenings, oldest first", body = Story),
        (status = 404, description = "`checkout-not-found`"),
        (status = 503, description = "`storage-unavailable`"),
    ),
    security(("api_key" = ["admin:read"]), ("bearer" = ["admin:read"])),
)]
async fn show_timeline(
    _: AdminReader,
    State(flow): State<TellStory>,
    context: RequestContext,
    Path(id): Path<String>,
) -> Result<Json<Story>, Problem> {
    let id = Uuid::try_parse(&id).map_err(|_| Problem::CheckoutNotFound)?;
    let story = flow.of_checkout(CheckoutId(id), locale(&context)).await?;
    story.map(Json).ok_or(Problem::CheckoutNotFound)
}

fn locale(context: &RequestContext) -> Locale {
    match context.language() {
        Language::Arabic => Locale::Ar,
        Language::English => Locale::En,
    }
}

impl From<StoryError> for Problem {
    fn from(error: StoryError) -> Self {
        match error {
            StoryError::Storage(error) => error.into(),
            StoryError::Queue(error) => unavailable(&error),
        }
    }
}
