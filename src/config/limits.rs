//! The sensible range of every number among the settings.

use toml::Value;

/// Key, smallest and largest value that make sense. A test holds it against `default.toml`.
const LIMITS: &[(&str, i64, i64)] = &[
    // Port 0 asks the system for a free one.
    ("app.port", 0, 65_535),
    ("http.request_timeout_secs", 1, 300),
    ("http.header_timeout_secs", 1, 120),
    ("http.read_timeout_secs", 1, 120),
    ("http.body_timeout_secs", 1, 120),
    ("http.max_connections", 1, 1_000_000),
    ("http.body_limit_bytes", 1_024, 67_108_864),
    ("http.drain_secs", 1, 60),
    ("http.shutdown_secs", 2, 120),
    ("http.rates.key_per_minute", 1, 100_000),
    ("http.rates.address_per_minute", 1, 100_000),
    ("http.rates.checkout_per_minute", 1, 100_000),
    ("http.rates.webhook_per_minute", 1, 100_000),
    ("database.max_connections", 1, 1_000),
    ("checkout.per_email_hourly", 1, 10_000),
    ("checkout.resolve_after_secs", 5, 3_600),
    // A checkout may call twice within the 30 s of its request.
    ("moyasar.timeout_secs", 1, 10),
    ("posthog.timeout_secs", 1, 60),
    ("posthog.batch_size", 1, 1_000),
    ("llm.timeout_secs", 1, 600),
    ("health.interval_secs", 1, 60),
    // The first round must end within 2 s.
    ("health.timeout_ms", 50, 2_000),
    ("health.idle_probe_secs", 60, 3_600),
    ("jobs.tick_ms", 10, 60_000),
    ("jobs.event_concurrency", 1, 256),
    ("jobs.lease_secs", 5, 3_600),
    ("dlq.max_retries", 1, 100),
    ("dlq.drain_batch_size", 1, 100),
    ("outbound.smtp_port", 1, 65_535),
    (".breaker.consecutive_failures", 1, 1_000),
    (".breaker.window_secs", 1, 3_600),
    (".breaker.window_calls", 0, 10_000),
    (".breaker.minimum_calls", 1, 10_000),
    (".breaker.failure_percent", 1, 100),
    (".breaker.slow_percent", 1, 100),
    (".breaker.slow_call_ms", 1, 600_000),
    (".breaker.cooldown_secs", 1, 3_600),
    (".breaker.max_cooldown_secs", 1, 86_400),
    (".breaker.probe_lease_secs", 1, 3_600),
];

/// The range that a number of this key leaves, in words.
pub(super) fn broken_by(key: &str, value: &Value) -> Option<String> {
    let number = value.as_integer()?;
    let (_, least, most) = of_key(key)?;
    (!(*least..=*most).contains(&number)).then(|| format!("a number from {least} to {most}"))
}

fn of_key(key: &str) -> Option<&'static (&'static str, i64, i64)> {
    // The settings of a breaker are the same for every service.
    LIMITS.iter().find(|(name, ..)| *name == key || (name.starts_with('.') && key.ends_with(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, inspect};

    #[test]
    fn every_number_has_a_range_and_every_range_a_number() {
        let settings = inspect(&Sources::default()).settings;
        let is_number = |key: &str| {
            settings
                .iter()
                .any(|setting| setting.key() == key && setting.shown().parse::<i64>().is_ok())
        };
        for setting in &settings {
            if setting.shown().parse::<i64>().is_ok() {
                assert!(of_key(setting.key()).is_some(), "{} has no range", setting.key());
            }
        }
        for (key, ..) in LIMITS.iter().filter(|(key, ..)| !key.starts_with('.')) {
            assert!(is_number(key), "{key} is no number");
        }
    }

    #[test]
    fn the_ends_of_a_range_are_inside() {
        for (number, is_inside) in [(0, false), (1, true), (1_000, true), (1_001, false)] {
            let broken = broken_by("database.max_connections", &Value::Integer(number));
            assert_eq!(broken.is_none(), is_inside, "{number}");
        }
    }
}
