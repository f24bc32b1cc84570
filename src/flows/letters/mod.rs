//! Dead letters: handed over, taken over from predecessors, and replayed; how they are kept is in `queue`.

pub mod adopt_old_lists;
pub mod debts;
pub mod hand_over;
pub mod hand_over_refused;
pub mod handler;
pub mod notice_loss;
mod old_item;
pub mod operate;
pub mod owed_analytics;
pub mod owed_event;
pub mod redrives;
pub mod replay_letter;
