//! Every `error!` becomes a report to Sentry, with the request it belongs to.

use std::fmt::{Debug, Write};
use std::sync::{Arc, OnceLock};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::clients::sentry::{Report, Sentry};

/// The field of a span or event that names the request.
const REQUEST_ID: &str = "request_id";

/// Where errors go: nowhere, until somebody takes them.
#[derive(Clone, Default)]
pub struct Reports {
    taker: Arc<OnceLock<Sentry>>,
}

impl Debug for Reports {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reports").field("is_taken", &self.taker.get().is_some()).finish()
    }
}

impl Reports {
    /// Errors go to `sentry` from now on; the first who takes them keeps them.
    pub(crate) fn send_to(&self, sentry: Sentry) {
        self.taker.get_or_init(|| sentry);
    }

    /// The part that listens to the log.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let is_wanted = FilterFn::new(|metadata| {
            *metadata.level() == Level::ERROR
                || metadata.is_span() && metadata.fields().field(REQUEST_ID).is_some()
        });
        self.clone().with_filter(is_wanted.with_max_level_hint(LevelFilter::INFO))
    }
}

impl<S> Layer<S> for Reports
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut seen = Seen::default();
        attributes.record(&mut seen);
        if let (Some(request_id), Some(span)) = (seen.report.request_id, context.span(id)) {
            span.extensions_mut().insert(RequestId(request_id));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(sentry) = self.taker.get() else { return };
        let mut seen = Seen::default();
        event.record(&mut seen);
        let mut report = seen.report;
        event.metadata().target().clone_into(&mut report.logger);
        if let (Some(file), Some(line)) = (event.metadata().file(), event.metadata().line()) {
            report.fields.insert("place", format!("{file}:{line}"));
        }
        let request_of = |span: tracing_subscriber::registry::SpanRef<'_, S>| {
            span.extensions().get::<RequestId>().map(|id| id.0.clone())
        };
        let mut spans = context.event_scope(event).into_iter().flatten();
        report.request_id = report.request_id.or_else(|| spans.find_map(request_of));
        sentry.report(report);
    }
}

struct RequestId(String);

/// Collects the fields of a span or an event.
#[derive(Default)]
struct Seen {
    report: Report,
}

impl Seen {
    fn keep(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.report.message = text,
            REQUEST_ID => self.report.request_id = Some(text),
            name => {
                self.report.fields.insert(name, text);
            }
        }
    }
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut chain = value.to_string();
        let mut next = value.source();
        while let Some(cause) = next {
            if write!(chain, ": {cause}").is_err() {
                break;
            }
            next = cause.source();
        }
        self.keep(field, chain);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.keep(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dealix_sandbox::{Options, Sandbox};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::clients::sentry::Reporter;
    use crate::config::SentryConfig;

    #[tokio::test]
    async fn every_error_is_reported_with_its_request_and_without_personal_data() {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let dsn = Some(sandbox.sentry_dsn().into());
        let sentry =
            Sentry::new(&SentryConfig { dsn, traces_sample_rate: 0.0 }, Reporter::default());
        let sentry = sentry.unwrap();
        let reports = Reports::default();
        let subscriber = tracing_subscriber::registry().with(reports.layer());
        let logging = tracing::subscriber::set_default(subscriber);
        tracing::error!("nobody takes this one");
        reports.send_to(sentry.clone());
        let cause = std::io::Error::other("refused sara@example.com");
        let request_id = "0123456789abcdef0123456789abcdef";
        tracing::info_span!("request", request_id).in_scope(|| {
            tracing::info_span!("inner", step = 2).in_scope(|| {
                let error: &(dyn std::error::Error + 'static) = &cause;
                tracing::error!(error, attempt = 3, "Call 0501234567 failed");
                tracing::warn!("not an error");
            });
        });
        drop(logging);
        assert!(sentry.flush(Duration::from_secs(10)).await);

        let ledger = sandbox.ledger();
        let events: Vec<_> = ledger.sentry_events().map(|event| &event.payload).collect();
        let [event] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(event["message"], "Call [number] failed");
        assert_eq!(event["extra"]["error"], "refused [address]");
        assert_eq!(event["extra"]["attempt"], "3");
        assert_eq!(event["tags"]["request_id"], request_id);
        assert_eq!(event["logger"], "dealix::telemetry::reports::tests");
        let place = event["extra"]["place"].as_str().unwrap();
        assert!(place.starts_with("src/telemetry/reports.rs:"), "{place}");
    }
}
