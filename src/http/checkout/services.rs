//! `POST /api/v1/checkout`: a service of ours buys a plan for one of its customers.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{filled, short_text, to_its_end};
use crate::domain::checkout::{Channel, CheckoutId, Locale};
use crate::domain::email::Email;
use crate::domain::money::Riyals;
use crate::flows::checkout::open_checkout::OpenCheckout;
use crate::flows::checkout::start_checkout::{
    Answer, CheckoutError, Order, StartCheckout, Started,
};
use crate::http::auth::ServiceCaller;
use crate::http::edge::RequestContext;
use crate::http::idempotency::{Keyed, Replayable};
use crate::http::problem::Problem;
use crate::http::problems::{Fault, Fields};
use crate::tasks::Tasks;

/// Which of our services' customers buys what.
#[derive(Deserialize, ToSchema)]
pub(super) struct StartServiceCheckoutBody {
    /// In any case.
    #[schema(value_type = String, examples("starter"))]
    plan: Option<String>,
    #[schema(value_type = String, examples("buyer@example.com"))]
    email: Option<String>,
    #[schema(examples("lead-7"))]
    lead_id: Option<String>,
}

/// A payment page for one of our services' customers.
#[derive(Serialize, ToSchema)]
pub(super) struct ServiceCheckoutStarted {
    #[schema(examples("62f746b4-84e6-4ceb-95bd-447e7184d454"))]
    invoice_id: String,
    /// The invoice's status at the provider.
    #[schema(examples("initiated"))]
    status: String,
    amount_sar: Riyals,
    #[schema(examples(
        "https://checkout.moyasar.com/invoices/62f746b4-84e6-4ceb-95bd-447e7184d454"
    ))]
    payment_url: String,
    #[schema(examples("starter"))]
    plan: String,
    checkout_id: CheckoutId,
}

/// Buys a plan for a customer of one of our services.
#[utoipa::path(
    post, path = "/api/v1/checkout", tag = "checkout", request_body = StartServiceCheckoutBody,
    params(("Idempotency-Key" = Option<String>, Header,
        description = "1 to 255 visible characters: the same request with the same key buys once",
        example = "7f3a9c52-order-1042", min_length = 1, max_length = 255)),
    responses(
        (status = 200, description = "A payment page", body = ServiceCheckoutStarted,
            headers(("Idempotent-Replayed" = Option<String>,
                description = "`true` if this answer was given before"))),
        (status = 400, description = "Literal details `unknown_plan: <plan>` and `invalid_email`"),
        (status = 409, description = "`request-in-progress`: ask again after `Retry-After`"),
        (status = 422, description = "`invalid-request`, `idempotency-key-reused`"),
        (status = 502, description = "Literal detail `payment_provider_error`"),
        (status = 503, description = "`upstream-unavailable`, `storage-unavailable`"),
    ),
)]
pub(super) async fn start_service_checkout(
    _: ServiceCaller,
    State(flow): State<StartCheckout>,
    State(tasks): State<Tasks>,
    context: RequestContext,
    Keyed { body, key }: Keyed<StartServiceCheckoutBody>,
) -> Result<Replayable<ServiceCheckoutStarted>, Problem> {
    let plan = body.plan.clone().unwrap_or_default();
    let order = body.order(&context)?;
    let refused = |error| problem(error, &plan);
    let Answer { started, is_replayed } =
        to_its_end(&tasks, flow, order, key).await?.map_err(refused)?;
    match started {
        Started::InvoiceCreated(open) => Ok(Replayable { answer: open.into(), is_replayed }),
        Started::ContactSales => Err(Problem::UnknownPlan(plan)),
        Started::Unavailable => Err(Problem::PaymentProviderError),
    }
}

/// The failures of this route's own; whatever is wrong at the gateway is one of them.
fn problem(error: CheckoutError, plan: &str) -> Problem {
    match error {
        CheckoutError::UnknownPlan(_) => Problem::UnknownPlan(plan.to_owned()),
        CheckoutError::Gateway(_) | CheckoutError::Unresolved { .. } => {
            tracing::warn!(error = %error, "No payment page was made: {error}");
            Problem::PaymentProviderError
        }
        error @ (CheckoutError::KeyReused
        | CheckoutError::InProgress { .. }
        | CheckoutError::TooMany(_)
        | CheckoutError::GatewayUnavailable { .. }
        | CheckoutError::Storage(_)) => error.into(),
    }
}

impl From<OpenCheckout> for ServiceCheckoutStarted {
    fn from(open: OpenCheckout) -> Self {
        Self {
            invoice_id: open.invoice_id,
            status: open.invoice_status,
            amount_sar: open.amount.riyals(),
            payment_url: open.payment_url,
            plan: open.plan_id,
            checkout_id: open.checkout_id,
        }
    }
}

impl StartServiceCheckoutBody {
    fn order(self, context: &RequestContext) -> Result<Order, Problem> {
        let mut fields = Fields::default();
        let plan = fields.required("/plan", self.plan, |text| short_text(text, 64));
        let address = fields.required("/email", self.email, Ok::<_, Fault>);
        let lead = fields.optional("/lead_id", filled(self.lead_id), |text| short_text(text, 128));
        let (Some(plan), Some(address), Some(lead_id)) = (plan, address, lead) else {
            return Err(fields.refuse());
        };
        Ok(Order {
            channel: Channel::Service,
            plan_id: plan.to_lowercase(),
            customer_name: None,
            customer_email: Email::parse(&address).map_err(|_| Problem::InvalidEmail)?,
            customer_phone: None,
            tenant_id: None,
            lead_id,
            locale: Locale::Ar,
            distinct_id: None,
            request_id: context.request_id().to_owned(),
        })
    }
}
