//! `/api/v1/admin/reviews`: what needs a person, and what one decided.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::app::AppState;
use crate::clock::Clock;
use crate::db;
use crate::db::reviews::Review;
use crate::domain::checkout::CheckoutId;
use crate::domain::reason::LONGEST_REASON;
use crate::domain::review::ReviewState;
use crate::flows::resolve_review::{ResolveError, Verdict, resolve_review};
use crate::http::auth::{Admin, AdminReader};
use crate::http::checkout::short_text;
use crate::http::edge::RequestContext;
use crate::http::extract::{Json, Path, Query};
use crate::http::problem::Problem;
use crate::http::problems::{Fault, Fields};

/// Reviews in one answer.
const PAGE: usize = 50;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_reviews)).routes(routes!(resolve_open_review))
}

/// Which reviews.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ReviewQuery {
    /// `open` (which is also meant where nothing is said) or `resolved`.
    #[param(example = "open")]
    state: Option<String>,
    /// The `next_cursor` of the page before.
    #[param(example = "019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f")]
    cursor: Option<String>,
}

/// What needs a person, oldest first.
#[derive(Serialize, ToSchema)]
struct ReviewList {
    reviews: Vec<ReviewBody>,
    /// For the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f"))]
    next_cursor: Option<Uuid>,
}

/// A question to a person, and the answer once there is one.
#[derive(Serialize, ToSchema)]
#[schema(as = Review)]
struct ReviewBody {
    id: Uuid,
    /// The kind of question; the runbook says what to do about each.
    #[schema(examples("amount_mismatch"))]
    kind: String,
    /// The payment at the provider that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("b61e6ba5-3682-4dd6-b804-69b84b2d451c"))]
    payment_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkout_id: Option<CheckoutId>,
    /// The webhook event that brought it up, if only that one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<Uuid>,
    /// What differs, in words.
    #[schema(examples("billed 990 SAR, charged 1 SAR"))]
    difference: String,
    opened_at: DateTime<Utc>,
    #[schema(value_type = String, examples("open", "resolved"))]
    state: &'static str,
    /// What was done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("refunded"))]
    resolution: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("paid twice by mistake; the customer was called"))]
    reason: Option<String>,
    /// Who said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("admin:5f2b8c1d"))]
    resolved_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<DateTime<Utc>>,
}

impl From<Review> for ReviewBody {
    fn from(review: Review) -> Self {
        Self {
            id: review.id,
            kind: review.kind,
            payment_id: review.payment_id,
            checkout_id: review.checkout_id,
            event_id: review.event_id,
            difference: review.difference,
            opened_at: review.opened_at,
            state: review.state.word(),
            resolution: review.resolution,
            reason: review.reason,
            resolved_by: review.resolved_by,
            resolved_at: review.resolved_at,
        }
    }
}

/// What needs a person, or did.
#[utoipa::path(
    get, path = "/api/v1/admin/reviews", tag = "admin",
    responses(
        (status = 200, description = "A page of them, oldest first", body = ReviewList),
        (status = 422, description = "`invalid-request`"),
        (status = 503, description = "`storage-unavailable`"),
    ),
    security(("api_key" = ["admin:read"]), ("bearer" = ["admin:read"])),
)]
async fn list_reviews(
    _: AdminReader,
    State(db): State<PgPool>,
    Query(query): Query<ReviewQuery>,
) -> Result<Json<ReviewList>, Problem> {
    let (state, after) = query.parse()?;
    // One more than is shown tells whether there is a next page.
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut reviews = db::in_time(db::reviews::list(&db, state, after, limit)).await?;
    let has_more = reviews.len() > PAGE;
    reviews.truncate(PAGE);
    let next_cursor = reviews.last().filter(|_| has_more).map(|review| review.id);
    let reviews = reviews.into_iter().map(ReviewBody::from).collect();
    Ok(Json(ReviewList { reviews, next_cursor }))
}

impl ReviewQuery {
    fn parse(self) -> Result<(ReviewState, Option<Uuid>), Problem> {
        let mut fields = Fields::default();
        let state = fields.optional("/state", self.state, |word| {
            ReviewState::named(&word).ok_or(Fault::InvalidValue)
        });
        let cursor = fields.optional("/cursor", self.cursor, |text| {
            Uuid::try_parse(&text).map_err(|_| Fault::InvalidValue)
        });
        let (Some(state), Some(cursor)) = (state, cursor) else { return Err(fields.refuse()) };
        Ok((state.unwrap_or(ReviewState::Open), cursor))
    }
}

/// What somebody decided. Both fields are needed.
#[derive(Deserialize, ToSchema)]
#[schema(as = ReviewResolution)]
struct ResolutionBody {
    /// What is done about it, in a word or two.
    #[schema(value_type = String, min_length = 1, max_length = 100, examples("refunded"))]
    resolution: Option<String>,
    /// Why.
    #[schema(value_type = String, min_length = 1, max_length = 1000, examples("paid twice by mistake; the customer was called"))]
    reason: Option<String>,
}

/// Says what was decided about a review. It moves no money: what is decided is done at the provider.
#[utoipa::path(
    post, path = "/api/v1/admin/reviews/{id}/resolve", tag = "admin",
    params(("id" = String, Path, description = "The review", example = "019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f")),
    request_body = ResolutionBody,
    responses(
        (status = 200, description = "The review with its answer", body = ReviewBody),
        (status = 404, description = "`review-not-found`"),
        (status = 409, description = "`review-resolved`"),
        (status = 503, description = "`storage-unavailable`"),
    ),
    security(("api_key" = ["admin"]), ("bearer" = ["admin"])),
)]
async fn resolve_open_review(
    _: Admin,
    State(db): State<PgPool>,
    State(clock): State<Clock>,
    context: RequestContext,
    Path(id): Path<String>,
    Json(body): Json<ResolutionBody>,
) -> Result<Json<ReviewBody>, Problem> {
    let (resolution, reason) = body.parse()?;
    let id = Uuid::try_parse(&id).map_err(|_| Problem::ReviewNotFound)?;
    let verdict = Verdict {
        resolution: &resolution,
        reason: &reason,
        actor: context.caller().map_or("", |caller| &caller.name),
        request_id: context.request_id(),
        now: clock.now(),
    };
    Ok(Json(resolve_review(&db, id, verdict).await?.into()))
}

impl ResolutionBody {
    fn parse(self) -> Result<(String, String), Problem> {
        let mut fields = Fields::default();
        let resolution =
            fields.required("/resolution", self.resolution, |text| short_text(text, 100));
        let reason =
            fields.required("/reason", self.reason, |text| short_text(text, LONGEST_REASON));
        resolution.zip(reason).ok_or_else(|| fields.refuse())
    }
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::NotFound => Self::ReviewNotFound,
            ResolveError::AlreadyResolved => Self::ReviewResolved,
            ResolveError::Storage(error) => error.into(),
        }
    }
}
