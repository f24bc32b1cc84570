//! The registry of circuit breakers, one per outbound service.
