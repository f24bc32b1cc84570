//! Dead letters: handed over and replayed; how they are kept is in `queue`.

pub mod debts;
pub mod hand_over;
pub mod operate;
pub mod owed_analytics;
pub mod owed_event;
pub mod replay_letter;
