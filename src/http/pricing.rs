//! `/api/v1/pricing/plans`: what we sell, serialised once.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::AppState;
use crate::domain::money::{Halalas, Riyals, SAR};
use crate::domain::plan::{Billing, Catalogue, Plan};
use crate::http::etag;
use crate::http::extract::Path;
use crate::http::problem::Problem;

/// Prices change with a release; a page may show the old ones for five minutes.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=300");

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_plans)).routes(routes!(find_plan))
}

/// Every answer about prices, made once at start.
#[derive(Clone, Debug)]
pub struct PriceList {
    all: Document,
    each: BTreeMap<String, Document>,
}

#[derive(Clone, Debug)]
struct Document {
    body: Bytes,
    etag: HeaderValue,
}

impl PriceList {
    /// The answers for this catalogue.
    pub fn new(catalogue: &Catalogue) -> anyhow::Result<Self> {
        let plans: Vec<_> = catalogue.listed().map(PlanBody::from).collect();
        let each = catalogue
            .listed()
            .map(|plan| {
                let answer = FoundPlan { plan: plan.into(), currency: SAR };
                Ok((plan.id.clone(), Document::new(&answer)?))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { all: Document::new(&PlanList { currency: SAR, plans })?, each })
    }
}

impl Document {
    fn new(answer: &impl Serialize) -> anyhow::Result<Self> {
        let body = serde_json::to_vec(answer)?;
        let etag = etag::of(&Sha256::digest(&body));
        Ok(Self { body: body.into(), etag })
    }

    /// The document, or 304 where the client has it.
    fn answer(&self, request: &HeaderMap) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::CACHE_CONTROL, CACHE_CONTROL),
            (header::ETAG, self.etag.clone()),
        ];
        if etag::matches(request, &self.etag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.body.clone()).into_response()
    }
}

/// What we sell.
#[derive(Serialize, ToSchema)]
struct PlanList<'a> {
    #[schema(examples("SAR"))]
    currency: &'static str,
    plans: Vec<PlanBody<'a>>,
}

/// One plan.
#[derive(Serialize, ToSchema)]
struct FoundPlan<'a> {
    plan: PlanBody<'a>,
    #[schema(examples("SAR"))]
    currency: &'static str,
}

/// Something that can be bought.
#[derive(Serialize, ToSchema)]
#[schema(as = Plan)]
struct PlanBody<'a> {
    #[schema(examples("starter"))]
    id: &'a str,
    #[schema(examples("Starter"))]
    name_en: &'a str,
    #[schema(examples("الأساسية"))]
    name_ar: &'a str,
    /// Riyals a month, VAT included; 0 where people agree on a price.
    price_sar: Riyals,
    /// The same in halalas.
    #[schema(value_type = i64, examples(99_000))]
    amount_halalas: Halalas,
    #[schema(value_type = String, examples("monthly", "custom"))]
    billing: &'static str,
    #[schema(value_type = Vec<String>, example = json!(["One sales pipeline and two seats"]))]
    features_en: &'a [String],
    #[schema(value_type = Vec<String>, example = json!(["مسار مبيعات واحد ومقعدان"]))]
    features_ar: &'a [String],
}

impl<'a> From<&'a Plan> for PlanBody<'a> {
    fn from(plan: &'a Plan) -> Self {
        Self {
            id: &plan.id,
            name_en: &plan.name_en,
            name_ar: &plan.name_ar,
            price_sar: plan.price().riyals(),
            amount_halalas: plan.price(),
            billing: match plan.billing {
                Billing::Monthly => "monthly",
                Billing::Custom => "custom",
            },
            features_en: &plan.features_en,
            features_ar: &plan.features_ar,
        }
    }
}

/// What we sell.
#[utoipa::path(
    get, path = "/api/v1/pricing/plans", tag = "pricing",
    responses(
        (status = 200, description = "Every plan, cheapest first", body = PlanList<'_>,
            headers(("ETag" = String, description = "For If-None-Match"))),
        (status = 304, description = "The client has it"),
    ),
)]
async fn list_plans(State(prices): State<Arc<PriceList>>, headers: HeaderMap) -> Response {
    prices.all.answer(&headers)
}

/// One plan.
#[utoipa::path(
    get, path = "/api/v1/pricing/plans/{id}", tag = "pricing",
    params(("id" = String, Path, description = "The plan's id", example = "starter")),
    responses(
        (status = 200, description = "The plan", body = FoundPlan<'_>,
            headers(("ETag" = String, description = "For If-None-Match"))),
        (status = 304, description = "The client has it"),
        (status = 404, description = "`plan-not-found`"),
    ),
)]
async fn find_plan(
    State(prices): State<Arc<PriceList>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let document = prices.each.get(&id).ok_or(Problem::PlanNotFound)?;
    Ok(document.answer(&headers))
}
