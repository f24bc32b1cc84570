//! A circuit breaker: stop calling a service that keeps failing, then let one probe through.
