//! The service is killed at every step that its code names, and nothing is lost and nothing doubled.
//!
//! `faults::step("…")` in `src/` names the steps. Each has a test here, in which the real binary kills
//! itself there with SIGKILL in the middle of a scenario, is started again, and has to come to the
//! same end as if nothing had happened. A step without a test fails, and so does a test without a step.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a step that fails should fail the test"
)]

mod door;
#[path = "../api/proxy.rs"]
#[expect(dead_code, reason = "shared with the tests of the API, which ask it for more")]
mod proxy;
#[path = "../api/redis_server.rs"]
#[expect(dead_code, reason = "shared with the tests of the API, which ask it for more")]
mod redis_server;
mod scenarios;
mod service;
mod steps;
mod world;

/// One test per step, by the scenario that passes it.
macro_rules! killed_at {
    ($($scenario:ident: $($step:ident)+;)+) => {
        /// The steps that have a test.
        const TESTED: &[&str] = &[$($(stringify!($step),)+)+];

        mod killed_at {
            $($(
                #[sqlx::test(migrations = "./migrations")]
                async fn $step(db: sqlx::PgPool) {
                    crate::scenarios::$scenario(db, stringify!($step)).await;
                }
            )+)+
        }
    };
}

killed_at! {
    a_sale:
        checkout_ordered intent_saved invoice_made page_unsaved page_saved
        webhook_recognised batch_uncommitted batch_committed webhook_stored
        event_claimed payment_fetched settlement_unsaved settlement_saved
        outbox_claimed outbox_accepted outbox_marked;
    a_lost_answer: invoice_answer_lost invoice_looked_up;
    a_refusal: refusal_unsaved refusal_saved;
    a_resolution: look_claimed resolution_unsaved resolution_saved look_unfinished look_finished;
    a_surplus: surplus_claimed surplus_canceled surplus_noted;
    a_suspect: suspect_claimed;
    an_adoption: adoption_found;
    an_outage: outage_met outage_noted;
    a_failed_attempt: failure_uncounted failure_counted;
    a_frozen_postgres:
        letter_unpushed letter_pushed letter_taken letter_unstored letter_stored letter_done
        letter_acknowledged;
    a_given_up_event: failed_event_listed failed_event_pushed failed_event_noted;
    a_lost_webhook:
        look_begun healing_unsaved healing_saved;
}
