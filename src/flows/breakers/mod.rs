//! Circuit breakers: what they show, and what operators tell them.

pub mod follow_overrides;
pub mod override_breaker;
pub mod show_breakers;
