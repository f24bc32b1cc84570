//! A provider's event from its arrival until it is stored; what it does then is in `settling`.

pub mod commit_events;
pub mod inbox;
pub mod quarantine;

pub(super) mod incoming;
pub(super) mod store_events;
