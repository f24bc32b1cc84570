//! The counters and gauges of the process, and how Prometheus reads them.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::BUILD;

/// Upper bounds of what is timed, in seconds: from an answer out of memory to the longest request.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds of how many share a commit.
const BATCH: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// Everything that is counted in this process, whoever counts it.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Starts counting; further calls return the same.
    pub fn install() -> anyhow::Result<Self> {
        static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
            .set_buckets_for_metric(Matcher::Suffix("_batch_events".to_owned()), &BATCH)?;
        let handle = INSTALLED.get_or_init(|| {
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::error!("Somebody else counts already; /metrics will stay empty");
            }
            describe();
            handle
        });
        Ok(Self { handle: handle.clone() })
    }

    /// Everything, in the text format of Prometheus.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Frees what timings hold on to. Without it a process that nobody scrapes would grow.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Notes what the process is and how big it has grown.
pub fn observe_process(uptime: Duration) {
    gauge!("dealix_build_info", "version" => BUILD.version, "commit" => BUILD.commit).set(1);
    gauge!("dealix_process_uptime_seconds").set(uptime);
    if let Some(bytes) = resident_bytes() {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; memory is below 2^53")]
        gauge!("dealix_process_resident_memory_bytes").set(bytes as f64);
    }
}

/// What the kernel says we hold in memory; `None` where there is no such kernel.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    parse_resident_bytes(&status)
}

fn parse_resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn describe() {
    // An alert on a series that does not exist yet would never fire.
    counter!("error_rate_total").increment(0);
    describe_gauge!("dealix_build_info", "Always 1; the labels say what runs");
    describe_gauge!("dealix_process_uptime_seconds", Unit::Seconds, "Time since the start");
    describe_gauge!("dealix_process_resident_memory_bytes", Unit::Bytes, "Memory held");
    describe_gauge!("dealix_db_connections", "Connections to Postgres, by state");
    describe_gauge!("dealix_health_status", "1 for the status that the check found last");
    describe_gauge!("dealix_dlq_letters", "Dead letters, by queue and state");
    describe_counter!(
        "dealix_dlq_replays_total",
        "Replays of dead letters, by what became of them"
    );
    describe_histogram!("dealix_webhook_batch_events", "Events that shared a commit");
    describe_counter!("dealix_sentry_reports_total", "Error reports, by what became of them");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_the_kernel_prints() {
        let status = "Name:\tdealix-api\nVmHWM:\t  9000 kB\nVmRSS:\t  30720 kB\n";
        assert_eq!(parse_resident_bytes(status), Some(31_457_280));
        assert_eq!(parse_resident_bytes("Name:\tx\n"), None);
    }

    #[test]
    fn a_second_installation_shows_what_the_first_counted() {
        let first = Metrics::install().unwrap();
        observe_process(Duration::from_millis(1500));
        let second = Metrics::install().unwrap();
        first.upkeep();
        let text = second.render();
        assert!(text.contains("dealix_process_uptime_seconds 1.5"), "{text}");
        let build = format!("commit=\"{}\"", BUILD.commit);
        assert!(text.contains("dealix_build_info{") && text.contains(&build), "{text}");
    }
}
