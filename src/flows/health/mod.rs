//! How we are: checks, the board they write to, breakers, the way to Sentry; how it is shown is in `http`.

pub mod check_health;
pub mod check_sentry;
pub mod health_board;
pub mod show_status;
