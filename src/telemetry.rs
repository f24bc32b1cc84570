//! Logs, metrics and error reports: the one place that sets them up.
