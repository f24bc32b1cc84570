//! The dead-letter queues alone, on a real Redis: every state, every index, every word of an operator.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a step that fails should fail the test"
)]

mod audit;
mod entering;
mod hands;
mod looking;
mod model;
mod operator;
#[path = "../api/redis_server.rs"]
#[expect(dead_code, reason = "other tests ask more of it")]
mod redis_server;
mod trouble;
mod twice;
mod world;
