//! Logs, metrics and error reports: the one place that sets them up.

use std::io::IsTerminal;
use std::panic;

use anyhow::Context;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::clients::sentry::Sentry;
use crate::config::{Config, Environment};

pub use metrics::{Metrics, observe_process};
pub use reports::Reports;

mod metrics;
mod reports;

/// What was built, for logs, reports, metrics and answers.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The version of the release.
    pub version: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
}

/// This build.
pub const BUILD: Build =
    Build { version: env!("CARGO_PKG_VERSION"), commit: env!("DEALIX_COMMIT") };

/// The logs of the process.
#[derive(Debug)]
pub struct Telemetry {
    reports: Reports,
}

impl Telemetry {
    /// Errors are reported from now on; before, they are only logged.
    pub(crate) fn report_to(&self, sentry: Sentry) {
        self.reports.send_to(sentry);
    }
}

/// Starts logging to standard output, once per process: lines of JSON where machines read them,
/// compact text elsewhere.
pub fn init(config: &Config) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::try_new(&config.app.log_level).context("APP_LOG_LEVEL")?;
    let lines = match config.app.env {
        Environment::Staging | Environment::Production => {
            fmt::layer().json().flatten_event(true).with_span_list(false).boxed()
        }
        Environment::Development | Environment::Test => {
            fmt::layer().compact().with_ansi(std::io::stdout().is_terminal()).boxed()
        }
    };
    let reports = Reports::default();
    let reporting = config.sentry.dsn.is_some().then(|| reports.layer());
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(reporting)
        .try_init()
        .context("logging was started before")?;
    log_panics();
    Ok(Telemetry { reports })
}

/// Where a panic happened, as a line of the log. What it stopped reports it by itself, with the
/// same words but without the place.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let words = panic.payload_as_str().unwrap_or("a panic without words");
        tracing::warn!(place, "Panicked at {place}: {words}");
    }));
}
