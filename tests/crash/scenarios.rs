//! What goes on while the service dies. None of these knows where it does.

use dealix_sandbox::{Fault, Mischief, Operation, Trouble};
use serde_json::Value;
use sqlx::PgPool;

use crate::world::{World, good_card};

/// A buyer buys, pays and is told so; the webhook is the only one that tells us.
pub async fn a_sale(db: PgPool, step: &'static str) {
    finish_the_sale(World::new(db, &[step]).await).await;
}

/// The webhook is lost, and the invoice's callback prompts a look; where that look dies, the buyer who
/// waits at the page prompts another.
pub async fn a_lost_webhook(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    world.sandbox.fault(Fault::delivery(Mischief::Drop).once());
    let bought = world.buy().await;
    world.pay(&bought, good_card()).await;
    world.call_back().await;
    world.until_shown(&bought, "paid").await;
    world.hold_the_books_of_one_sale().await;
    world.end().await;
}

/// The process dies with an event in hand, and whoever takes it up settles it alone, and dies too.
pub async fn a_suspect(db: PgPool, step: &'static str) {
    finish_the_sale(World::new(db, &["event_claimed", step]).await).await;
}

/// The customer pays an invoice that we have not heard of; its metadata tells whose it is.
pub async fn an_adoption(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    let bought = world.buy().await;
    let other = world.make_invoice_behind_its_back(&bought).await;
    world.pay(&other, good_card()).await;
    world.until_shown(&bought, "paid").await;
    world.hold_the_books_of_one_sale().await;
    world.end().await;
}

/// The provider fails once when it is asked about the payment.
pub async fn an_outage(db: PgPool, step: &'static str) {
    sale_after(db, step, Trouble::status(503)).await;
}

/// The provider once does not know the payment.
pub async fn a_failed_attempt(db: PgPool, step: &'static str) {
    sale_after(db, step, Trouble::status(404)).await;
}

async fn sale_after(db: PgPool, step: &'static str, trouble: Trouble) {
    let world = World::new(db, &[step]).await;
    let bought = world.buy().await;
    world.sandbox.fault(Fault::before(Operation::FetchPayment, trouble).once());
    world.pay(&bought, good_card()).await;
    world.until_shown(&bought, "paid").await;
    world.hold_the_books_of_one_sale().await;
    world.end().await;
}

/// The provider makes an invoice, and its answer is lost.
pub async fn a_lost_answer(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    world.sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Reset).once());
    finish_the_sale(world).await;
}

/// The provider refuses to make an invoice, once.
pub async fn a_refusal(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    world.sandbox.fault(Fault::before(Operation::CreateInvoice, Trouble::status(400)).once());
    finish_the_sale(world).await;
}

/// The process dies after it asked for an invoice, and whoever looks after its checkout dies too.
pub async fn a_resolution(db: PgPool, step: &'static str) {
    finish_the_sale(World::new(db, &["invoice_made", step]).await).await;
}

/// One request for an invoice, whose answer is lost, made two of them.
pub async fn a_surplus(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    world.sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Reset).once());
    world.sandbox.fault(Fault::before(Operation::ListInvoices, Trouble::status(500)).once());
    let (bought, ()) = tokio::join!(world.buy(), world.repeat_the_first_invoice());
    world.pay(&bought, good_card()).await;
    world.until_shown(&bought, "paid").await;
    world.hold_the_books_of_one_sale().await;
    world.there_is_one_place_to_pay().await;
    world.end().await;
}

async fn finish_the_sale(world: World) {
    let bought = world.buy().await;
    world.pay(&bought, good_card()).await;
    world.until_shown(&bought, "paid").await;
    world.hold_the_books_of_one_sale().await;
    world.there_is_one_place_to_pay().await;
    world.end().await;
}

/// Postgres is frozen when the event comes: the durable queue keeps it, and it is replayed.
pub async fn a_frozen_postgres(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    let bought = world.buy().await;
    world.postgres.freeze();
    world.pay(&bought, good_card()).await;
    world.until_taken().await;
    world.postgres.thaw();
    world.until_shown(&bought, "paid").await;
    world.hold_the_books_of_one_sale().await;
    world.end().await;
}

/// An event fails five times, the queue takes it over, and in the end it succeeds.
pub async fn a_given_up_event(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    let bought = world.buy().await;
    world.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)));
    world.pay(&bought, good_card()).await;
    world.until_given_up().await;
    world.sandbox.clear_faults();
    world.until_replayed(&bought).await;
    world.hold_the_books_of_one_sale().await;
    world.end().await;
}

/// The predecessors answered `duplicate` here and had lost the payment. The word is the same; the row
/// is there, and so is the effect.
#[sqlx::test(migrations = "./migrations")]
async fn killed_between_dedupe_claim_and_processing_the_retry_is_a_duplicate_and_nothing_is_lost(
    db: PgPool,
) {
    let world = World::new(db, &["webhook_stored"]).await;
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
