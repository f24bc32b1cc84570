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
mod edges;
mod orders;
mod predecessors;
#[path = "../api/proxy.rs"]
#[expect(dead_code, reason = "shared with the tests of the API, which ask it for more")]
mod proxy;
#[path = "../api/redis_server.rs"]
#[expect(dead_code, reason = "shared with the tests of the API, which ask it for more")]
mod redis_server;
mod scenarios;
#[expect(dead_code, reason = "shared with the storms, which kill it from outside")]
mod service;
mod steps;
mod world;

/// Every scenario.
mod killed_in {
    pub use crate::edges::*;
    pub use crate::orders::*;
    pub use crate::predecessors::*;
    pub use crate::scenarios::*;
}

/// One test per step, by the scenario that passes it.
macro_rules! killed_at {
    ($($scenario:ident: $($step:ident)+;)+) => {
        /// The steps that have a test.
        const TESTED: &[&str] = &[$($(stringify!($step),)+)+];

        mod killed_at {
            $($(
                #[sqlx::test(migrations = "./migrations")]
                async fn $step(db: sqlx::PgPool) {
                    crate::killed_in::$scenario(db, stringify!($step)).await;
                }
            )+)+
        }
    };
}

killed_at! {
    a_sale:
        checkout_ordered intent_unsaved intent_saved invoice_made page_unsaved page_saved
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
    a_given_up_event:
        failed_event_listed failed_event_pushed failed_event_unnoted failed_event_noted;
    a_letter_that_fails: letter_unreturned letter_returned;
    a_letter_that_dies: letter_unburied letter_buried;
    an_older_layout: letters_tidied;
    a_lost_letter: loss_noticed loss_vouched lost_letter_pushed letters_confirmed;
    a_refused_event:
        outbox_refused outbox_refusal_marked
        refused_event_unpushed refused_event_pushed refused_event_noted;
    an_old_list: old_letters_read old_letters_moved;
    a_forged_webhook: quarantine_unsaved quarantine_saved;
    an_emergency: sync_unsettled sync_settled;
    an_old_key: keys_forgotten;
    a_lapse: lapses_unsaved lapses_saved;
    a_decision: review_unresolved review_resolved;
    a_held_breaker: override_unsaved override_saved;
    a_question_of_price: answer_unsaved answer_saved;
    a_visitor: demo_unsaved demo_saved;
    a_stubborn_surplus: surplus_unasked surplus_asked;
    an_event_without_a_payment:
        question_unsaved reviews_unannounced reviews_announced reviews_marked;
    a_drain: drain_noted drain_taken;
    a_drain_with_a_key: order_unnoted outcome_unkept outcome_kept;
    a_retry: retry_noted retry_taken;
    a_redrive:
        redrive_unordered redrive_ordered redrive_claimed redrive_taken redrive_unsaved
        redrive_saved;
    a_stopped_redrive: redrive_untold redrive_told;
    a_deletion: letters_shelved letters_deleted letters_unshelved;
    a_restored_entry: letter_restored;
    a_pause: pause_noted resume_noted;
    an_edit: edit_noted;
    a_second_send: refused_event_accepted;
    a_lost_webhook:
        look_begun healing_unsaved healing_saved;
}
