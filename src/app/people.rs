//! Wires what people look at and tell: buyers their checkout, operators the service.

use std::sync::Arc;

use sqlx::PgPool;

use crate::clients::breakers::Breakers;
use crate::clock::Clock;
use crate::flows::breakers::override_breaker::OverrideBreaker;
use crate::flows::checkout::prompt_look::PromptLook;
use crate::flows::checkout::show_checkout::ShowCheckout;
use crate::flows::health::show_status::ShowStatus;
use crate::flows::tell_story::TellStory;
use crate::queue::{Letters, Redis};
use crate::wake::Wake;

/// What buyers look at.
pub(super) fn buyers(db: &PgPool, wake: &Wake, clock: &Clock) -> (PromptLook, ShowCheckout) {
    let (db, clock) = (db.clone(), clock.clone());
    let prompt_look = PromptLook { db: db.clone(), clock: clock.clone(), wake: wake.clone() };
    (prompt_look.clone(), ShowCheckout { db, prompt_look, clock })
}

/// The one screen.
pub(super) fn show_status(
    db: &PgPool,
    redis: &Redis,
    letters: &Letters,
    breakers: &Arc<Breakers>,
    clock: &Clock,
) -> ShowStatus {
    ShowStatus {
        db: db.clone(),
        redis: redis.clone(),
        letters: letters.clone(),
        breakers: Arc::clone(breakers),
        clock: clock.clone(),
    }
}

/// The story of whatever has a name.
pub(super) fn tell_story(db: &PgPool, letters: &Letters, clock: &Clock) -> TellStory {
    TellStory { db: db.clone(), letters: letters.clone(), clock: clock.clone() }
}

/// What operators tell breakers with.
pub(super) fn override_breaker(
    db: &PgPool,
    breakers: &Arc<Breakers>,
    clock: &Clock,
) -> OverrideBreaker {
    OverrideBreaker { db: db.clone(), breakers: Arc::clone(breakers), clock: clock.clone() }
}
