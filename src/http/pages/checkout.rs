//! `/checkout/{id}`: where the buyer returns to after paying, or trying to.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, FixedOffset, Utc};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::app::AppState;
use crate::domain::checkout::{CheckoutId, CheckoutStatus, Locale};
use crate::domain::money::Halalas;
use crate::domain::plan::Catalogue;
use crate::flows::checkout::show_checkout::{ShowCheckout, Shown};
use crate::http::edge::RequestContext;
use crate::http::extract::{Path, Query};
use crate::http::language::Language;
use crate::http::pages::PAGE_POLICY;
use crate::http::problem::Problem;

/// Riyadh is three hours ahead of UTC all year.
const RIYADH_OFFSET_SECS: i32 = 3 * 60 * 60;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(show_checkout_page))
}

#[derive(Deserialize)]
struct Choice {
    lang: Option<String>,
}

/// The page that the buyer returns to. It polls until the payment is settled.
#[utoipa::path(
    get, path = "/checkout/{checkout_id}", tag = "pages",
    params(
        ("checkout_id" = String, Path, description = "The checkout's id",
            example = "0d4c2f5e-8f4e-4f0a-9a39-0c6f2f6a3b1d"),
        ("lang" = Option<String>, Query, description = "`ar` or `en`; else the checkout's language"),
    ),
    responses(
        (status = 200, description = "The page", content_type = "text/html", body = String),
        (status = 404, description = "There is no such checkout", content_type = "text/html", body = String),
        (status = 503, description = "`storage-unavailable`"),
    ),
)]
async fn show_checkout_page(
    State(flow): State<ShowCheckout>,
    State(catalogue): State<Arc<Catalogue>>,
    context: RequestContext,
    id: Result<Path<String>, Problem>,
    Query(choice): Query<Choice>,
) -> Result<Response, Problem> {
    let chosen = choice.lang.as_deref().and_then(locale);
    let id = id.ok().and_then(|Path(id)| Uuid::parse_str(&id).ok()).map(CheckoutId);
    let shown = match id {
        Some(id) => flow.peek(id).await?.map(|shown| (id, shown)),
        None => None,
    };
    let Some((id, shown)) = shown else {
        let asked = match context.language() {
            Language::Arabic => Locale::Ar,
            Language::English => Locale::En,
        };
        return render(StatusCode::NOT_FOUND, &Page::missing(chosen.unwrap_or(asked)));
    };
    let locale = chosen.unwrap_or(shown.checkout.locale);
    render(StatusCode::OK, &Page::new(id, &shown, &catalogue, locale))
}

fn locale(tag: &str) -> Option<Locale> {
    [Locale::Ar, Locale::En].into_iter().find(|locale| locale.tag() == tag)
}

fn render(status: StatusCode, page: &Page) -> Result<Response, Problem> {
    let html = page.render().map_err(|error| Problem::Internal(error.into()))?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_LANGUAGE, HeaderValue::from_static(page.lang)),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((status, headers, html).into_response())
}

#[derive(Template)]
#[template(path = "checkout.html")]
struct Page {
    lang: &'static str,
    dir: &'static str,
    other_language: Option<OtherLanguage>,
    tone: &'static str,
    mark: &'static str,
    text: Text,
    labels: &'static Labels,
    is_waiting: bool,
    poll_url: String,
    /// What the script compares with: status, and status and message of the last attempt.
    fingerprint: String,
    decline: Option<Decline>,
    sale: Option<Sale>,
    pay_url: Option<String>,
}

struct OtherLanguage {
    tag: &'static str,
    name: &'static str,
}

struct Text {
    title: &'static str,
    explanation: &'static str,
}

struct Decline {
    label: &'static str,
    message: String,
}

struct Sale {
    plan: String,
    amount: String,
    refunded: Option<String>,
    active_until: Option<String>,
    reference: String,
}

struct Labels {
    plan: &'static str,
    amount: &'static str,
    refunded: &'static str,
    active_until: &'static str,
    reference: &'static str,
    currency: &'static str,
    pay: &'static str,
    declined: &'static str,
    help: &'static str,
}

const ARABIC: Labels = Labels {
    plan: "الباقة",
    amount: "المبلغ",
    refunded: "المبلغ المُعاد",
    active_until: "الاشتراك سارٍ حتى",
    reference: "رقم العملية",
    currency: "ريال سعودي",
    pay: "إكمال الدفع",
    declined: "لم تُقبل المحاولة الأخيرة:",
    help: "تحتاج مساعدة؟",
};

const ENGLISH: Labels = Labels {
    plan: "Plan",
    amount: "Amount",
    refunded: "Given back",
    active_until: "Subscription active until",
    reference: "Reference",
    currency: "SAR",
    pay: "Continue to payment",
    declined: "The last attempt was declined:",
    help: "Need help?",
};

impl Page {
    fn new(id: CheckoutId, shown: &Shown, catalogue: &Catalogue, locale: Locale) -> Self {
        let Shown { checkout, subscription } = shown;
        let labels = labels(locale);
        let is_waiting =
            matches!(checkout.status, CheckoutStatus::Opening | CheckoutStatus::Pending);
        let attempt = checkout.last_attempt_status.as_deref().unwrap_or_default();
        let message = checkout.last_attempt_message.as_deref().unwrap_or_default();
        let plan = catalogue.find_for_sale(&checkout.plan_id, true).map(|plan| match locale {
            Locale::Ar => plan.name_ar.clone(),
            Locale::En => plan.name_en.clone(),
        });
        let refunded = (checkout.refunded != Halalas::ZERO).then(|| checkout.refunded.riyals());
        let until = subscription.as_ref().map(|(_, found)| riyadh_date(found.current_period_end));
        let sale = Sale {
            plan: plan.unwrap_or_else(|| checkout.plan_id.clone()),
            amount: checkout.amount.riyals().to_string(),
            refunded: refunded.map(|riyals| riyals.to_string()),
            active_until: until.filter(|_| checkout.status == CheckoutStatus::Paid),
            reference: id.to_string(),
        };
        let has_decline = is_waiting && !attempt.is_empty();
        let (tone, mark) = look(checkout.status);
        Self {
            tone,
            mark,
            text: text(checkout.status, locale),
            is_waiting,
            poll_url: format!("/api/v1/pricing/checkout/{id}"),
            fingerprint: format!("{}|{attempt}|{message}", checkout.status.word()),
            decline: has_decline
                .then(|| Decline { label: labels.declined, message: message.to_owned() }),
            sale: Some(sale),
            pay_url: checkout.payment_url.clone().filter(|_| is_waiting),
            other_language: Some(other_language(locale)),
            ..Self::missing(locale)
        }
    }

    fn missing(locale: Locale) -> Self {
        let (title, explanation) = match locale {
            Locale::Ar => {
                ("لا توجد عملية بهذا الرقم", "تأكد من الرابط الذي وصلك أو ابدأ عملية شراء جديدة.")
            }
            Locale::En => (
                "There is no such checkout",
                "Check the link that you were given, or start a new purchase.",
            ),
        };
        Self {
            lang: locale.tag(),
            dir: match locale {
                Locale::Ar => "rtl",
                Locale::En => "ltr",
            },
            other_language: Some(other_language(locale)),
            tone: "bad",
            mark: "?",
            text: Text { title, explanation },
            labels: labels(locale),
            is_waiting: false,
            poll_url: String::new(),
            fingerprint: String::new(),
            decline: None,
            sale: None,
            pay_url: None,
        }
    }
}

fn labels(locale: Locale) -> &'static Labels {
    match locale {
        Locale::Ar => &ARABIC,
        Locale::En => &ENGLISH,
    }
}

fn other_language(locale: Locale) -> OtherLanguage {
    match locale {
        Locale::Ar => OtherLanguage { tag: Locale::En.tag(), name: "English" },
        Locale::En => OtherLanguage { tag: Locale::Ar.tag(), name: "العربية" },
    }
}

fn look(status: CheckoutStatus) -> (&'static str, &'static str) {
    match status {
        CheckoutStatus::Paid => ("good", "✓"),
        CheckoutStatus::Opening | CheckoutStatus::Pending | CheckoutStatus::Review => {
            ("waiting", "…")
        }
        CheckoutStatus::Refunded => ("good", "↩"),
        CheckoutStatus::Refused
        | CheckoutStatus::Failed
        | CheckoutStatus::Expired
        | CheckoutStatus::Canceled => ("bad", "✕"),
    }
}

fn text(status: CheckoutStatus, locale: Locale) -> Text {
    let (title, explanation) = match (status, locale) {
        (CheckoutStatus::Opening | CheckoutStatus::Pending, Locale::Ar) => (
            "بانتظار الدفع",
            "إن كنت قد دفعت للتو فستتحدث هذه الصفحة تلقائيًا خلال ثوانٍ. وإلا فيمكنك إكمال الدفع الآن.",
        ),
        (CheckoutStatus::Opening | CheckoutStatus::Pending, Locale::En) => (
            "Waiting for your payment",
            "If you have just paid, this page updates by itself within seconds. Otherwise you can pay now.",
        ),
        (CheckoutStatus::Paid, Locale::Ar) => ("تم الدفع بنجاح", "شكرًا لك! اشتراكك مفعّل الآن."),
        (CheckoutStatus::Paid, Locale::En) => {
            ("Payment successful", "Thank you! Your subscription is active.")
        }
        (CheckoutStatus::Refunded, Locale::Ar) => {
            ("أُعيد المبلغ", "أُعيد المبلغ كاملًا إلى وسيلة الدفع، وأُلغي الاشتراك.")
        }
        (CheckoutStatus::Refunded, Locale::En) => (
            "Refunded",
            "The whole amount was given back to your card and the subscription was canceled.",
        ),
        (CheckoutStatus::Review, Locale::Ar) => {
            ("نراجع عمليتك", "وصلتنا عمليتك ويراجعها أحد أعضاء فريقنا. لا حاجة للدفع مرة أخرى.")
        }
        (CheckoutStatus::Review, Locale::En) => (
            "We are looking into your payment",
            "A member of our team is reviewing it. There is no need to pay again.",
        ),
        (CheckoutStatus::Refused | CheckoutStatus::Failed, Locale::Ar) => {
            ("تعذّر الدفع", "لم يعد الدفع ممكنًا في هذه العملية. ابدأ عملية شراء جديدة من فضلك.")
        }
        (CheckoutStatus::Refused | CheckoutStatus::Failed, Locale::En) => {
            ("Payment failed", "This checkout can no longer be paid. Please start a new purchase.")
        }
        (CheckoutStatus::Expired, Locale::Ar) => {
            ("انتهت مهلة الدفع", "لم يُخصم أي مبلغ. ابدأ عملية شراء جديدة من فضلك.")
        }
        (CheckoutStatus::Expired, Locale::En) => {
            ("This checkout has expired", "Nothing was charged. Please start a new purchase.")
        }
        (CheckoutStatus::Canceled, Locale::Ar) => {
            ("أُلغيت العملية", "لم يُخصم أي مبلغ. يمكنك بدء عملية شراء جديدة متى شئت.")
        }
        (CheckoutStatus::Canceled, Locale::En) => (
            "This checkout was canceled",
            "Nothing was charged. You can start a new purchase at any time.",
        ),
    };
    Text { title, explanation }
}

/// The day in Riyadh.
fn riyadh_date(at: DateTime<Utc>) -> String {
    let day = FixedOffset::east_opt(RIYADH_OFFSET_SECS)
        .map_or_else(|| at.date_naive(), |riyadh| at.with_timezone(&riyadh).date_naive());
    day.format("%Y-%m-%d").to_string()
}
