//! What visitors of the public site tell us: `/api/v1/public`.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::PgPool;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::app::AppState;
use crate::clock::Clock;
use crate::domain::funnel::{Analytics, FunnelEvent};
use crate::domain::redaction::redact;
use crate::flows::request_demo::{DemoRequest, request_demo};
use crate::flows::track_visit::{Visit, track_visit};
use crate::http::checkout::{email, filled, phone, short_text};
use crate::http::edge::RequestContext;
use crate::http::extract::{Json, typed};
use crate::http::problem::Problem;
use crate::http::problems::{Fault, Fields};
use crate::wake::Wake;

/// What a visitor's browser may tell about a visit. Everything else is dropped: it could be anything,
/// and analytics gets no personal data.
const PROPERTIES: [&str; 9] = [
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "path",
    "locale",
    "plan",
    "variant",
];

/// Longest text of one property.
const PROPERTY_LENGTH: usize = 200;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(track_public_event)).routes(routes!(request_public_demo))
}

/// What a visitor did.
#[derive(Deserialize, ToSchema)]
struct PublicEvent {
    /// `landing_view` or `demo_request`.
    #[schema(value_type = String, pattern = "^(landing_view|demo_request)$", examples("landing_view"))]
    event: Option<String>,
    /// The visitor's random id, a UUID that the page made up.
    #[schema(value_type = String, format = Uuid, examples("3f0c1c1e-6d0b-4d57-9d6c-6d8f4f1f3a55"))]
    distinct_id: Option<String>,
    /// `utm_source`, `utm_medium`, `utm_campaign`, `utm_term`, `utm_content`, `path`, `locale`, `plan`
    /// and `variant` are kept, as short texts.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, example = json!({ "utm_source": "newsletter" }))]
    properties: Option<Map<String, Value>>,
}

/// That it was taken in.
#[derive(Serialize, ToSchema)]
struct Accepted {
    #[schema(examples("accepted"))]
    status: &'static str,
}

const ACCEPTED: (StatusCode, Json<Accepted>) =
    (StatusCode::ACCEPTED, Json(Accepted { status: "accepted" }));

/// Tells what a visitor did.
#[utoipa::path(
    post, path = "/api/v1/public/events", tag = "public", request_body = PublicEvent,
    responses(
        (status = 202, description = "It will be passed on", body = Accepted),
        (status = 503, description = "`storage-unavailable`"),
    ),
)]
async fn track_public_event(
    State(db): State<PgPool>,
    State(analytics): State<Analytics>,
    State(clock): State<Clock>,
    State(wake): State<Wake>,
    context: RequestContext,
    Json(body): Json<PublicEvent>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let visit = body.visit(&context)?;
    track_visit(&db, visit, analytics, clock.now()).await?;
    wake.outbox.notify_one();
    Ok(ACCEPTED)
}

impl PublicEvent {
    fn visit(self, context: &RequestContext) -> Result<Visit, Problem> {
        let mut fields = Fields::default();
        let event = fields.required("/event", self.event, |name| {
            FunnelEvent::from_visitor(&name).ok_or(Fault::InvalidValue)
        });
        let visitor = fields.required("/distinct_id", self.distinct_id, |id| {
            Uuid::parse_str(&id).map_err(|_| Fault::InvalidValue)
        });
        let (Some(event), Some(visitor)) = (event, visitor) else { return Err(fields.refuse()) };
        let mut properties = self.properties.unwrap_or_default();
        properties.retain(|name, value| {
            let text = value.as_str();
            PROPERTIES.contains(&name.as_str())
                && text.is_some_and(|text| text.chars().count() <= PROPERTY_LENGTH)
        });
        for text in properties.values_mut() {
            // Links carry addresses and numbers in their queries, and campaigns carry what they like.
            let clean = text.as_str().map(|text| text.split(['?', '#']).next().unwrap_or_default());
            *text = clean.map(|text| redact(text).into_owned()).unwrap_or_default().into();
        }
        let request_id = context.request_id().to_owned();
        Ok(Visit { event, visitor: visitor.to_string(), properties, request_id })
    }
}

/// Who wants to be called.
#[derive(Deserialize, ToSchema)]
struct DemoRequestBody {
    #[schema(value_type = String, examples("نورة"))]
    name: Option<String>,
    #[schema(value_type = String, examples("visitor@example.com"))]
    email: Option<String>,
    #[schema(examples("شركة المثال"))]
    company: Option<String>,
    #[schema(examples("0512345678"))]
    phone: Option<String>,
    #[schema(examples("نود رؤية عرض يوم الأحد."))]
    message: Option<String>,
    /// Must be true: without it we may not keep anything of this.
    #[schema(value_type = bool)]
    consent: Option<bool>,
    /// Hidden from people; who fills it in is none.
    #[schema(examples(""))]
    #[serde(rename = "website")]
    _website: Option<String>,
}

/// Asks to be called.
#[utoipa::path(
    post, path = "/api/v1/public/demo-request", tag = "public", request_body = DemoRequestBody,
    responses(
        (status = 202, description = "Somebody will call", body = Accepted),
        (status = 503, description = "`storage-unavailable`"),
    ),
)]
async fn request_public_demo(
    State(db): State<PgPool>,
    State(analytics): State<Analytics>,
    State(clock): State<Clock>,
    State(wake): State<Wake>,
    context: RequestContext,
    Json(body): Json<Map<String, Value>>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    // Looked at before anything else: who fills it in learns nothing of what is wrong besides.
    if is_caught(body.get("website")) {
        return Ok(ACCEPTED);
    }
    let request = typed::<DemoRequestBody>(body)?.request(&context)?;
    request_demo(&db, &request, analytics, clock.now()).await?;
    wake.outbox.notify_one();
    Ok(ACCEPTED)
}

/// Whether the field that people do not see was filled in, with whatever.
fn is_caught(website: Option<&Value>) -> bool {
    match website {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => true,
    }
}

impl DemoRequestBody {
    fn request(self, context: &RequestContext) -> Result<DemoRequest, Problem> {
        let mut fields = Fields::default();
        let name = fields.required("/name", self.name, |text| short_text(text, 200));
        let address = fields.required("/email", self.email.as_deref(), email);
        let company =
            fields.optional("/company", filled(self.company), |text| short_text(text, 200));
        let number = fields.optional("/phone", filled(self.phone).as_deref(), phone);
        let message =
            fields.optional("/message", filled(self.message), |text| short_text(text, 4000));
        let consent = fields.required("/consent", self.consent, |consent| {
            if consent { Ok(()) } else { Err(Fault::ConsentNeeded) }
        });
        let (Some(name), Some(email), Some(company), Some(phone), Some(message), Some(())) =
            (name, address, company, number, message, consent)
        else {
            return Err(fields.refuse());
        };
        let request_id = context.request_id().to_owned();
        Ok(DemoRequest { name, email, company, phone, message, request_id })
    }
}
