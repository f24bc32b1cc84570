//! Buying a plan: `/api/v1/pricing/checkout` for visitors, `/api/v1/checkout` for our services.

use axum::extract::State;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::app::AppState;
use crate::domain::checkout::{Channel, CheckoutId, Locale};
use crate::domain::email::Email;
use crate::domain::money::{Halalas, Riyals};
use crate::domain::phone::Phone;
use crate::domain::subscription::SubscriptionStatus;
use crate::flows::show_checkout::{ShowCheckout, Shown};
use crate::flows::start_checkout::{CheckoutError, OpenCheckout, Order, StartCheckout, Started};
use crate::http::auth::ServiceCaller;
use crate::http::edge::RequestContext;
use crate::http::extract::{Json, Path};
use crate::http::language::Language;
use crate::http::problem::Problem;
use crate::http::problems::{Fault, Fields};
use crate::tasks::Tasks;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(start_checkout))
        .routes(routes!(start_service_checkout))
        .routes(routes!(find_checkout))
}

/// Who buys what.
#[derive(Deserialize, ToSchema)]
struct StartCheckoutBody {
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
enum CheckoutStarted {
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
        currency: &'static str,
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
    responses(
        (status = 200, description = "A payment page, or why there is none", body = CheckoutStarted),
        (status = 404, description = "`plan-not-found`"),
        (status = 502, description = "`payment-gateway-error`"),
        (status = 503, description = "`upstream-unavailable`, `storage-unavailable`"),
    ),
)]
async fn start_checkout(
    State(flow): State<StartCheckout>,
    State(tasks): State<Tasks>,
    context: RequestContext,
    Json(body): Json<StartCheckoutBody>,
) -> Result<Json<CheckoutStarted>, Problem> {
    let order = body.order(&context)?;
    let language = context.language();
    match to_its_end(&tasks, flow, order).await? {
        Ok(started) => Ok(Json(CheckoutStarted::new(started, language))),
        Err(CheckoutError::UnknownPlan(_)) => Err(Problem::PlanNotFound),
        Err(CheckoutError::GatewayUnavailable { retry_after }) => {
            Err(Problem::UpstreamUnavailable { retry_after })
        }
        Err(CheckoutError::Gateway(error)) => {
            tracing::warn!(error = %error, "No payment page was made: {error}");
            Err(Problem::PaymentGatewayError)
        }
        Err(CheckoutError::Storage(error)) => Err(error.into()),
    }
}

/// A client that hangs up must not leave an invoice behind that nobody remembers.
async fn to_its_end(
    tasks: &Tasks,
    flow: StartCheckout,
    order: Order,
) -> Result<Result<Started, CheckoutError>, Problem> {
    let done = tasks.finish(async move { flow.run(order).await }).await;
    done.map_err(|panic| {
        Problem::Internal(anyhow::anyhow!("starting a checkout panicked: {panic}"))
    })
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

/// Which of our services' customers buys what.
#[derive(Deserialize, ToSchema)]
struct StartServiceCheckoutBody {
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
struct ServiceCheckoutStarted {
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
    responses(
        (status = 200, description = "A payment page", body = ServiceCheckoutStarted),
        (status = 400, description = "Literal details `unknown_plan: <plan>` and `invalid_email`"),
        (status = 502, description = "Literal detail `payment_provider_error`"),
        (status = 503, description = "`upstream-unavailable`, `storage-unavailable`"),
    ),
)]
async fn start_service_checkout(
    _: ServiceCaller,
    State(flow): State<StartCheckout>,
    State(tasks): State<Tasks>,
    context: RequestContext,
    Json(body): Json<StartServiceCheckoutBody>,
) -> Result<Json<ServiceCheckoutStarted>, Problem> {
    let plan = body.plan.clone().unwrap_or_default();
    let order = body.order(&context)?;
    match to_its_end(&tasks, flow, order).await? {
        Ok(Started::InvoiceCreated(open)) => Ok(Json(ServiceCheckoutStarted {
            invoice_id: open.invoice_id,
            status: open.invoice_status,
            amount_sar: open.amount.riyals(),
            payment_url: open.payment_url,
            plan: open.plan_id,
            checkout_id: open.checkout_id,
        })),
        // A plan without a price cannot be invoiced.
        Ok(Started::ContactSales) | Err(CheckoutError::UnknownPlan(_)) => {
            Err(Problem::UnknownPlan(plan))
        }
        Ok(Started::Unavailable) => Err(Problem::PaymentProviderError),
        Err(CheckoutError::GatewayUnavailable { retry_after }) => {
            Err(Problem::UpstreamUnavailable { retry_after })
        }
        Err(CheckoutError::Gateway(error)) => {
            tracing::warn!(error = %error, "No payment page was made: {error}");
            Err(Problem::PaymentProviderError)
        }
        Err(CheckoutError::Storage(error)) => Err(error.into()),
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
async fn find_checkout(
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

/// Forms send empty texts for what was not filled in.
pub(super) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// A text of 1 to `max` characters, its Arabic byte for byte, without the blanks around it.
pub(super) fn short_text(text: String, max: usize) -> Result<String, Fault> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(Fault::Required);
    }
    if trimmed.chars().count() > max {
        return Err(Fault::TooLong { max });
    }
    Ok(if trimmed.len() == text.len() { text } else { trimmed.to_owned() })
}

pub(super) fn email(text: &str) -> Result<Email, Fault> {
    Email::parse(text).map_err(|_| Fault::InvalidEmail)
}

pub(super) fn phone(text: &str) -> Result<Phone, Fault> {
    Phone::parse(text).map_err(|_| Fault::InvalidPhone)
}
