//! What we know: types and rules, without I/O; the current time is an argument.

pub mod alert;
pub mod breaker;
pub mod checkout;
pub mod disclosure;
pub mod email;
pub mod fingerprint;
pub mod funnel;
pub mod health;
pub mod money;
pub mod payment;
pub mod phone;
pub mod plan;
pub mod reason;
pub mod redaction;
pub mod redrive;
pub mod review;
pub mod secret_token;
pub mod status;
pub mod story;
pub mod subscription;
pub mod webhook;
