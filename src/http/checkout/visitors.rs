//! `POST /api/v1/pricing/checkout`: a visitor buys a plan.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{email, filled, phone, short_text, to_its_end};
use crate::domain::checkout::{Channel, CheckoutId, Locale};
use crate::domain::money::{Halalas, Riyals};
use crate::flows::checkout::guard_email::TooMany;
use crate::flows::checkout::open_checkout::OpenCheckout;
use crate::flows::checkout::start_checkout::{
    Answer, CheckoutError, Order, StartCheckout, Started,
};
use crate::http::edge::RequestContext;
use crate::http::idempotency::{Keyed, Replayable};
use crate::http::language::Language;
use crate::http::problem::Problem;
use crate::http::problems::Fields;
use crate::tasks::Tasks;

/// Who buys what.
#[derive(Deserialize, ToSchema)]
pub(super) struct StartCheckoutBody {
    #[schema(value_type = String, examples("starter"))]
    plan_id: Option<String>,
    #[schema(value_type = String, examples("شركة المثال"))]
    customer_name: Option<String>,
    #[schema(value_type = String, examples("buyer@example.com"))]
    customer_email: Option<String>,
    /// A Saudi mobile in any spelling, or another country's number with its `+`.
    #[schema(examples("0512345678"))]
    customer_phone: Option<String>,
    /// Whose subscription it is; else the e-mail address's.
    #[schema(examples("tenant-42"))]
    tenant_id: Option<String>,
    /// The language of the payment page; else the request's.
    locale: Option<Locale>,
    /// The visitor's id of `/api/v1/public/events`; anything but a UUID is ignored, because a sale
    /// must not fail over a statistic.
    #[schema(value_type = Option<String>, examples("3f0c1c1e-6d0b-4d57-9d6c-6d8f4f1f3a55"))]
    distinct_id: Option<serde_json::Value>,
}

/// The answer to a wish to buy.
#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(super) enum CheckoutStarted {
    /// Send the customer to `payment_url`.
    InvoiceCreated {
        checkout_id: CheckoutId,
        #[schema(examples("62f746b4-84e6-4ceb-95bd-447e7184d454"))]
        invoice_id: String,
        #[schema(examples(
            "https://checkout.moyasar.com/invoices/62f746b4-84e6-4ceb-95bd-447e7184d454"
        ))]
        payment_url: String,
        amount_sar: Riyals,
        #[schema(value_type = i64, examples(99_000))]
        amount_halalas: Halalas,
        #[schema(examples("SAR"))]
        currency: String,
        #[schema(examples("starter"))]
        plan: String,
        #[schema(examples("2026-11-21T10:00:00Z"))]
        expires_at: DateTime<Utc>,
    },
    /// People agree on the price of this plan.
    ContactSales {
        #[schema(examples("تواصل معنا"))]
        message_ar: &'static str,
        #[schema(examples("Contact us"))]
        message_en: &'static str,
    },
    /// Nothing can be sold at the moment.
    CheckoutUnavailable {
        #[schema(examples("Online payment is not available at the moment. Nothing was charged."))]
        message: &'static str,
    },
}

/// Buys a plan. The price always comes from the catalogue.
#[utoipa::path(
    post, path = "/api/v1/pricing/checkout", tag = "checkout", request_body = StartCheckoutBody,
    params(("Idempotency-Key" = Option<String>, Header,
        description = "1 to 255 visible characters: the same request with the same key buys once",
        example = "7f3a9c52-order-1042", min_length = 1, max_length = 255)),
    responses(
        (status = 200, description = "A payment page, or why there is none", body = CheckoutStarted,
            headers(("Idempotent-Replayed" = Option<String>,
                description = "`true` if this answer was given before"))),
        (status = 404, description = "`plan-not-found`"),
        (status = 409, description = "`request-in-progress`: ask again after `Retry-After`"),
        (status = 422, description = "`invalid-request`, `idempotency-key-reused`"),
        (status = 429, description = "`rate-limited`"),
        (status = 502, description = "`payment-gateway-error`"),
        (status = 503, description = "`upstream-unavailable`, `storage-unavailable`"),
    ),
)]
pub(super) async fn start_checkout(
    State(flow): State<StartCheckout>,
    State(tasks): State<Tasks>,
    context: RequestContext,
    Keyed { body, key }: Keyed<StartCheckoutBody>,
) -> Result<Replayable<CheckoutStarted>, Problem> {
    let (order, language) = (body.order(&context)?, context.language());
    let answer = to_its_end(&tasks, flow, order, key).await?;
    if let Err(CheckoutError::TooMany(too_many)) = &answer {
        context.count_email(too_many);
    }
    let Answer { started, is_replayed } = answer?;
    Ok(Replayable { answer: CheckoutStarted::new(started, language), is_replayed })
}

impl From<CheckoutError> for Problem {
    fn from(error: CheckoutError) -> Self {
        match error {
            CheckoutError::UnknownPlan(_) => Self::PlanNotFound,
            CheckoutError::KeyReused => Self::IdempotencyKeyReused,
            CheckoutError::InProgress { retry_after } => Self::RequestInProgress { retry_after },
            CheckoutError::TooMany(TooMany { retry_after, .. }) => {
                Self::RateLimited { retry_after }
            }
            CheckoutError::GatewayUnavailable { retry_after }
            | CheckoutError::Unresolved { retry_after } => {
                Self::UpstreamUnavailable { retry_after }
            }
            CheckoutError::Gateway(error) => {
                tracing::warn!(error = %error, "No payment page was made: {error}");
                Self::PaymentGatewayError
            }
            CheckoutError::Storage(error) => error.into(),
        }
    }
}

impl StartCheckoutBody {
    fn order(self, context: &RequestContext) -> Result<Order, Problem> {
        let mut fields = Fields::default();
        let plan_id = fields.required("/plan_id", self.plan_id, |text| short_text(text, 64));
        let name =
            fields.required("/customer_name", self.customer_name, |text| short_text(text, 200));
        let email = fields.required("/customer_email", self.customer_email.as_deref(), email);
        let phone =
            fields.optional("/customer_phone", filled(self.customer_phone).as_deref(), phone);
        let tenant =
            fields.optional("/tenant_id", filled(self.tenant_id), |text| short_text(text, 128));
        let (Some(plan_id), Some(name), Some(email), Some(phone), Some(tenant_id)) =
            (plan_id, name, email, phone, tenant)
        else {
            return Err(fields.refuse());
        };
        let locale = self.locale.unwrap_or(match context.language() {
            Language::Arabic => Locale::Ar,
            Language::English => Locale::En,
        });
        let visitor = self.distinct_id.as_ref().and_then(serde_json::Value::as_str);
        Ok(Order {
            channel: Channel::Pricing,
            plan_id,
            customer_name: Some(name),
            customer_email: email,
            customer_phone: phone,
            tenant_id,
            lead_id: None,
            locale,
            distinct_id: visitor.and_then(|id| Uuid::parse_str(id).ok()).map(|id| id.to_string()),
            request_id: context.request_id().to_owned(),
        })
    }
}

impl CheckoutStarted {
    fn new(started: Started, language: Language) -> Self {
        match started {
            Started::InvoiceCreated(OpenCheckout {
                checkout_id,
                invoice_id,
                payment_url,
                plan_id,
                amount,
                currency,
                expires_at,
                ..
            }) => Self::InvoiceCreated {
                checkout_id,
                invoice_id,
                payment_url,
                amount_sar: amount.riyals(),
                amount_halalas: amount,
                currency,
                plan: plan_id,
                expires_at,
            },
            Started::ContactSales => Self::ContactSales {
                message_ar: "تواصل معنا عبر dealix.me لنتفق على باقة تناسب منشأتك.",
                message_en: "Contact us at dealix.me and we will agree on a plan that fits you.",
            },
            Started::Unavailable => Self::CheckoutUnavailable {
                message: match language {
                    Language::Arabic => "الدفع الإلكتروني غير متاح حاليًا، ولم يُخصم أي مبلغ.",
                    Language::English => {
                        "Online payment is not available at the moment. Nothing was charged."
                    }
                },
            },
        }
    }
}
