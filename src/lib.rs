//! Dealix: sell plans, settle payments, never lose a riyal or a lead.
//!
//! Read the modules in this order: how it is put together, what we know, what we remember, whom we
//! call, what we owe, what we do, how we are asked, what we do unasked, how an operator asks.

pub mod app;
pub mod config;
mod migrations;

mod access;
pub mod clock;
mod faults;
pub mod tasks;
pub mod telemetry;
mod wake;

mod domain;

mod clients;
mod db;
pub mod queue;

mod flows;

/// What it takes to redrive dead letters by a handler of one's own: for what measures redrives from
/// outside of the service.
pub mod replay {
    pub use crate::domain::redrive::RedriveStatus;
    pub use crate::flows::letters::debts::Debts;
    pub use crate::flows::letters::handler::{Done, Foreseen, ForeseenEvent, Handler, Undone};
    pub use crate::flows::letters::operate::{OperateError, Order};
    pub use crate::flows::letters::redrives::{Plan, Redrive, Redrives};
}

mod http;
pub mod jobs;

pub mod commands;
