//! Rate, errors and duration of one route: the handles of its metrics, looked up once.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram, counter, histogram};

/// The metrics of one endpoint; few methods and statuses ever occur, so a list is enough.
#[derive(Clone, Default)]
pub(super) struct Red {
    series: Arc<RwLock<Vec<Series>>>,
}

#[derive(Clone)]
struct Series {
    method: &'static str,
    status: StatusCode,
    answered: Counter,
    took: Histogram,
    /// The older runbook's name for answers that are our fault.
    failed: Option<Counter>,
}

impl Red {
    /// Counts one answer.
    pub fn record(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let method = label(method);
        let known = self.find(method, status);
        let series = known.unwrap_or_else(|| self.add(Series::new(method, route, status)));
        series.answered.increment(1);
        series.took.record(took);
        if let Some(failed) = series.failed {
            failed.increment(1);
        }
    }

    fn find(&self, method: &'static str, status: StatusCode) -> Option<Series> {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        series.iter().find(|it| it.method == method && it.status == status).cloned()
    }

    fn add(&self, new: Series) -> Series {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        // Two requests that come here at once share their metrics: the recorder knows them by name.
        series.push(new.clone());
        new
    }
}

impl Series {
    fn new(method: &'static str, route: &str, status: StatusCode) -> Self {
        let route = route.to_owned();
        let labels = [("method", method.to_owned()), ("route", route)];
        let took = histogram!("dealix_http_request_duration_seconds", &labels);
        let [method_label, route_label] = labels;
        let labels = [method_label, route_label, ("status", status.as_str().to_owned())];
        let answered = counter!("dealix_http_requests_total", &labels);
        let failed = status.is_server_error().then(|| counter!("error_rate_total"));
        Self { method, status, answered, took, failed }
    }
}

/// A method as a label: what a client makes up is one label, not many.
pub(super) fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn an_answer_is_counted_by_method_route_and_status_and_timed_by_method_and_route() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let red = Red::default();
            let took = Duration::from_millis(250);
            red.record(&Method::GET, "/plans/{id}", StatusCode::OK, took);
            red.record(&Method::GET, "/plans/{id}", StatusCode::OK, took);
            red.record(&Method::GET, "/plans/{id}", StatusCode::BAD_GATEWAY, took);
            red.record(
                &Method::from_bytes(b"BREW").unwrap(),
                "unmatched",
                StatusCode::NOT_FOUND,
                took,
            );
        });
        let text = recorder.handle().render();
        for line in [
            r#"dealix_http_requests_total{method="GET",route="/plans/{id}",status="200"} 2"#,
            r#"dealix_http_requests_total{method="GET",route="/plans/{id}",status="502"} 1"#,
            r#"dealix_http_requests_total{method="other",route="unmatched",status="404"} 1"#,
            r#"dealix_http_request_duration_seconds_sum{method="GET",route="/plans/{id}"} 0.75"#,
            "error_rate_total 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
    }
}
