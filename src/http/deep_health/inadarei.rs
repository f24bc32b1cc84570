//! Health in the form of draft-inadarei-api-health-check.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::millis;
use crate::domain::health::{Check, ErrorClass, Overall, Status};
use crate::flows::health::health_board::{CheckView, HealthView};
use crate::http::extract::Json;
use crate::telemetry::BUILD;

const MEDIA_TYPE: &str = "application/health+json";

/// Whether the client asks for this form.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepted.flat_map(|value| value.split(','));
    ranges.any(|range| {
        let kind = range.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case(MEDIA_TYPE)
    })
}

/// The service and all its parts.
#[derive(Serialize, ToSchema)]
#[schema(as = HealthDraft)]
#[serde(rename_all = "camelCase")]
pub(super) struct Health {
    /// `pass`, `warn` or `fail`.
    #[schema(examples("pass"))]
    status: &'static str,
    /// The version of the API.
    #[schema(examples("1"))]
    version: &'static str,
    #[schema(examples("0.1.0+8231182aa0b1"))]
    release_id: String,
    /// By name and what was measured.
    checks: BTreeMap<String, Vec<Measurement>>,
}

/// One part.
#[derive(Serialize, ToSchema)]
#[schema(as = HealthDraftMeasurement)]
#[serde(rename_all = "camelCase")]
struct Measurement {
    /// `datastore`, `component` or `system`.
    #[schema(examples("datastore"))]
    component_type: &'static str,
    /// `pass`, `warn` or `fail`.
    #[schema(examples("pass"))]
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples(3))]
    observed_value: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, examples("ms"))]
    observed_unit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    time: Option<DateTime<Utc>>,
    /// Why it is not `pass`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, examples("timeout"))]
    output: Option<&'static str>,
}

impl Health {
    pub(super) fn of(view: HealthView) -> Self {
        let status = match view.overall {
            Overall::Ok => "pass",
            Overall::Degraded => "warn",
            Overall::Fail => "fail",
        };
        // What nobody wants has no place in a list of what was measured.
        let wanted = |it: &CheckView| it.finding.status != Status::Disabled;
        let checks = view.checks.into_iter().filter(wanted);
        let named = |it: CheckView| {
            (format!("{}:responseTime", it.check.name()), vec![Measurement::of(&it)])
        };
        Self {
            status,
            version: "1",
            release_id: format!("{}+{}", BUILD.version, BUILD.commit),
            checks: checks.map(named).collect(),
        }
    }
}

impl Measurement {
    fn of(CheckView { check, finding, found }: &CheckView) -> Self {
        let observed_value = finding.took.map(millis);
        Self {
            component_type: match check {
                Check::Postgres | Check::Redis => "datastore",
                Check::LlmProviders | Check::Moyasar | Check::Posthog => "component",
                Check::Migrations | Check::Dlq | Check::Reconciliation | Check::Backup => "system",
            },
            status: match finding.status {
                Status::Ok | Status::Disabled => "pass",
                Status::Degraded | Status::Unknown => "warn",
                Status::Fail => "fail",
            },
            observed_value,
            observed_unit: observed_value.map(|_| "ms"),
            time: found.map(|(at, _)| at),
            output: finding.error.map(ErrorClass::name).or(finding.reason),
        }
    }
}

impl IntoResponse for Health {
    fn into_response(self) -> Response {
        let media_type = [(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))];
        (media_type, Json(self)).into_response()
    }
}
