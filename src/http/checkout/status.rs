//! `GET /api/v1/pricing/checkout/{checkout_id}`: where a checkout stands.

use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::checkout::CheckoutId;
use crate::domain::money::{Halalas, Riyals};
use crate::domain::subscription::SubscriptionStatus;
use crate::flows::checkout::show_checkout::{ShowCheckout, Shown};
use crate::http::extract::{Json, Path};
use crate::http::problem::Problem;

/// Where a checkout stands.
#[derive(Serialize, ToSchema)]
struct CheckoutBody {
    checkout_id: CheckoutId,
    #[schema(examples("starter"))]
    plan: String,
    /// `pending`, `paid`, `refunded`, `failed`, `expired`, `canceled` or `review`.
    #[schema(examples("paid"))]
    status: &'static str,
    amount_sar: Riyals,
    #[schema(value_type = i64, examples(99_000))]
    amount_halalas: Halalas,
    #[schema(examples("SAR"))]
    currency: String,
    /// What was given back so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>, nullable = false, examples(40_000))]
    refunded_halalas: Option<Halalas>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("2026-11-20T10:00:00Z"))]
    paid_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_attempt: Option<LastAttempt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    subscription: Option<SubscriptionBody>,
}

/// How the last attempt to pay ended.
#[derive(Serialize, ToSchema)]
struct LastAttempt {
    #[schema(examples("failed"))]
    status: String,
    /// What the bank said.
    #[schema(examples("INSUFFICIENT FUNDS"))]
    message: String,
}

/// What was paid for.
#[derive(Serialize, ToSchema)]
#[schema(as = Subscription)]
struct SubscriptionBody {
    status: SubscriptionStatus,
    #[schema(examples("2026-12-20T10:00:00Z"))]
    current_period_end: DateTime<Utc>,
}

/// Where a checkout stands. Its id is its key: nobody can guess it.
#[utoipa::path(
    get, path = "/api/v1/pricing/checkout/{checkout_id}", tag = "checkout",
    params(("checkout_id" = String, Path, description = "The id that starting it answered",
        example = "0d4c2f5e-8f4e-4f0a-9a39-0c6f2f6a3b1d")),
    responses(
        (status = 200, description = "Where it stands", body = CheckoutBody),
        (status = 404, description = "`checkout-not-found`"),
        (status = 503, description = "`storage-unavailable`"),
    ),
)]
pub(super) async fn find_checkout(
    State(flow): State<ShowCheckout>,
    id: Result<Path<String>, Problem>,
    method: Method,
) -> Result<Response, Problem> {
    let id = id.ok().and_then(|Path(id)| Uuid::parse_str(&id).ok());
    let id = id.map(CheckoutId).ok_or(Problem::CheckoutNotFound)?;
    // A HEAD has no effects; a poll looks after a checkout that waits too long.
    let shown = if method == Method::HEAD { flow.peek(id).await? } else { flow.run(id).await? };
    let shown = shown.ok_or(Problem::CheckoutNotFound)?;
    Ok(Json(CheckoutBody::new(id, shown)).into_response())
}

impl CheckoutBody {
    fn new(checkout_id: CheckoutId, Shown { checkout, subscription }: Shown) -> Self {
        Self {
            checkout_id,
            plan: checkout.plan_id,
            status: checkout.status.word(),
            amount_sar: checkout.amount.riyals(),
            amount_halalas: checkout.amount,
            currency: checkout.currency,
            refunded_halalas: (checkout.refunded != Halalas::ZERO).then_some(checkout.refunded),
            paid_at: checkout.paid_at,
            last_attempt: checkout.last_attempt_status.map(|status| LastAttempt {
                status,
                message: checkout.last_attempt_message.unwrap_or_default(),
            }),
            subscription: subscription.map(|(status, subscription)| SubscriptionBody {
                status,
                current_period_end: subscription.current_period_end,
            }),
        }
    }
}
