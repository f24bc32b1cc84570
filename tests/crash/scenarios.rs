//! What goes on while the service dies. None of these knows where it does.

use dealix_sandbox::{Fault, Mischief};
use serde_json::Value;
use sqlx::PgPool;

use crate::world::{World, good_card};

/// A buyer buys, pays and is told so; the webhook is the only one that tells us.
pub async fn a_sale(db: PgPool, step: &str) {
    let world = World::new(db, step).await;
    let bought = world.buy().await;
    world.pay(&bought, good_card()).await;
    world.until_shown(&bought, "paid").await;
    world.hold_the_books_of_one_sale().await;
    world.end().await;
}

/// The webhook is lost, and the invoice's callback prompts a look; where that look dies, the buyer who
/// waits at the page prompts another.
pub async fn a_lost_webhook(db: PgPool, step: &str) {
    let world = World::new(db, step).await;
    world.sandbox.fault(Fault::delivery(Mischief::Drop).once());
    let bought = world.buy().await;
    world.pay(&bought, good_card()).await;
    world.call_back().await;
    world.until_shown(&bought, "paid").await;
    world.hold_the_books_of_one_sale().await;
    world.end().await;
}

/// The predecessors answered `duplicate` here and had lost the payment. The word is the same; the row
/// is there, and so is the effect.
#[sqlx::test(migrations = "./migrations")]
async fn killed_between_dedupe_claim_and_processing_the_retry_is_a_duplicate_and_nothing_is_lost(
    db: PgPool,
) {
    let world = World::new(db, "webhook_stored").await;
    let bought = world.buy().await;
    world.pay(&bought, good_card()).await;
    world.until_shown(&bought, "paid").await;
    world.hold_the_books_of_one_sale().await;
    let ledger = world.sandbox.ledger();
    let attempts = &ledger.webhooks().next().unwrap().attempts;
    assert_eq!(attempts[0].response_code, None, "it died before it answered");
    let last: Value = serde_json::from_str(&attempts.last().unwrap().response_body).unwrap();
    assert_eq!(last["status"], "duplicate");
    world.end().await;
}
