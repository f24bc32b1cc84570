//! What goes on beside a sale while the service dies: letters that fail, refusals, questions, and what
//! is done unasked.

use dealix_sandbox::{Fault, Operation, SentryItem, Trouble};
use redis::AsyncCommands;
use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::world::{Bought, World, good_card, until};

/// An event is given up, and its payment cannot be fetched; tells the checkout.
async fn given_up(world: &World) -> Bought {
    let bought = world.buy().await;
    world.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)));
    world.pay(&bought, good_card()).await;
    world.until_given_up().await;
    bought
}

async fn replay_and_hold_the_books(world: World, bought: &Bought) {
    world.sandbox.clear_faults();
    world.until_replayed(bought).await;
    world.hold_the_books_of_one_sale().await;
    world.end().await;
}

/// A letter is replayed, fails, and is given back.
pub async fn a_letter_that_fails(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    let bought = given_up(&world).await;
    world.until_a_letter_is_due().await;
    world.until_letters("the letter has failed", |letter| letter["attempt"] == 1).await;
    world.until_dead().await;
    replay_and_hold_the_books(world, &bought).await;
}

/// A letter fails for the last time: it stays, where only an operator moves it.
pub async fn a_letter_that_dies(db: PgPool, step: &'static str) {
    let world = World::new_with(db, &[step], &[("DLQ_MAX_RETRIES", "1")]).await;
    given_up(&world).await;
    world.until_a_letter_is_due().await;
    until("the letter is dead, alone", async || {
        let parts = [world.letters_in("dead").await, world.letters_in("due").await];
        (parts == [1, 0] && world.letters_in("leased").await == 0).then_some(())
    })
    .await;
    world.until_dead().await;
    assert_eq!(world.count("webhook_events where status = 'failed'").await, 1);
    assert_eq!(world.count("payments").await, 0);
    world.end().await;
}

/// Redis has lost the letter of a failed event.
pub async fn a_lost_letter(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    let bought = given_up(&world).await;
    until("it is handed over", async || {
        (world.count("webhook_events where handed_over_at is not null").await == 1).then_some(())
    })
    .await;
    world.lose_all_letters().await;
    world.until_dead().await;
    replay_and_hold_the_books(world, &bought).await;
}

/// The letter of a failed event was written by the release before.
pub async fn an_older_layout(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    let bought = given_up(&world).await;
    world.until_letters("it is handed over", |_| true).await;
    world.write_letters_as_before().await;
    world.until_dead().await;
    replay_and_hold_the_books(world, &bought).await;
}

/// Analytics refuses an event.
pub async fn a_refused_event(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    let refused = "insert into outbox (uuid, name, distinct_id, properties, happened_at, status, next_attempt_at)
        values (gen_random_uuid(), 'landing_view', '', '{}', now(), 'pending', now())";
    sqlx::query(refused).execute(&world.db).await.unwrap();
    until("it is refused", async || {
        (world.count("outbox where status = 'refused'").await == 1).then_some(())
    })
    .await;
    let handed_over = "outbox where status = 'refused' and handed_over_at is not null";
    until("it is handed over", async || (world.count(handed_over).await == 1).then_some(())).await;
    world.until_dead().await;
    let letters: i64 = world.connection().hlen("dealix:dlq:{analytics}:2:letters").await.unwrap();
    assert_eq!((letters, world.count("outbox").await), (1, 1));
    world.end().await;
}

/// Somebody sends what does not carry our secret.
pub async fn a_forged_webhook(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    let forged = json!({ "id": "forged", "type": "payment_paid", "secret_token": "guessed" });
    world.ask(Method::POST, "/api/v1/webhooks/moyasar", None, Some(&forged)).await;
    world.until_dead().await;
    // It may be forgotten, and nothing else is.
    assert!(world.count("quarantined_webhooks").await <= 1);
    let bought = world.buy().await;
    world.pay(&bought, good_card()).await;
    world.until_shown(&bought, "paid").await;
    world.hold_the_books_of_one_sale().await;
    world.end().await;
}

/// Mode `sync`: an event is settled in its request. Who was killed in the middle of that has stored it,
/// and the buyer, who is still looking, prompts a look.
pub async fn an_emergency(db: PgPool, step: &'static str) {
    let world = World::new_with(db, &[step], &[("NEW_QUEUE_ENABLED", "false")]).await;
    let bought = world.buy().await;
    world.pay(&bought, good_card()).await;
    world.until_shown(&bought, "paid").await;
    world.until_dead().await;
    world.until_taken().await;
    assert_eq!(world.count("webhook_events").await, 1);
    assert_eq!(world.count("payment_effects where effect = 'granted'").await, 1);
    assert_eq!(world.count("subscriptions where status = 'active'").await, 1);
    assert_eq!(world.count("outbox where name = 'payment_succeeded'").await, 1);
    world.end().await;
}

/// A key has expired.
pub async fn an_old_key(db: PgPool, step: &'static str) {
    let old = "insert into idempotency_keys
        (scope, key_digest, fingerprint, subject, created_at, expires_at)
        values ('old', '', '', gen_random_uuid(), now() - interval '2 days', now() - interval '1 day')";
    sqlx::query(old).execute(&db).await.unwrap();
    let world = World::new(db, &[step]).await;
    world.until_dead().await;
    assert_eq!(world.count("idempotency_keys").await, 0);
    let bought = world.buy().await;
    world.pay(&bought, good_card()).await;
    world.until_shown(&bought, "paid").await;
    world.hold_the_books_of_one_sale().await;
    world.end().await;
}

/// A subscription is long past its end.
pub async fn a_lapse(db: PgPool, step: &'static str) {
    for statement in [
        "insert into payments (id, status, standing, amount_halalas, currency, created_at, updated_at)
         values ('p', 'paid', 'granted', 99000, 'SAR', now(), now())",
        "insert into subscriptions (subscriber, plan_id, status, current_period_start,
             current_period_end, payment_id, created_at, updated_at)
         values ('tenant:t', 'starter', 'active', now() - interval '60 days',
             now() - interval '30 days', 'p', now(), now())",
    ] {
        sqlx::query(statement).execute(&db).await.unwrap();
    }
    let world = World::new(db, &[step]).await;
    until("it is written down", async || {
        (world.count("subscriptions where status = 'expired'").await == 1).then_some(())
    })
    .await;
    world.until_dead().await;
    assert_eq!(world.count("audit_log where action = 'subscription.lapsed'").await, 1);
    world.end().await;
}

/// Somebody decides, and tries again until there is an answer.
pub async fn a_decision(db: PgPool, step: &'static str) {
    let id = "00000000-0000-4000-8000-000000000001";
    let open = "insert into reviews (id, kind, difference, opened_at)
        values ('00000000-0000-4000-8000-000000000001', 'test', 'it differs', now())";
    sqlx::query(open).execute(&db).await.unwrap();
    let world = World::new(db, &[step]).await;
    let path = format!("/api/v1/admin/reviews/{id}/resolve");
    let verdict = json!({ "resolution": "settled", "reason": "they called" });
    until("it is resolved", async || {
        let (status, _) = world.ask_as_admin(Method::POST, &path, &verdict).await?;
        assert!(matches!(status, StatusCode::OK | StatusCode::CONFLICT), "{status}");
        Some(())
    })
    .await;
    world.until_dead().await;
    assert_eq!(world.count("reviews where state = 'resolved'").await, 1);
    assert_eq!(world.count("audit_log where action = 'review.resolved'").await, 1);
    world.end().await;
}

/// An operator holds a breaker open, and says so again when there is no answer.
pub async fn a_held_breaker(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    let path = "/api/v1/admin/circuit-breakers/posthog/open";
    let said = json!({ "reason": "they asked us to stop", "ttl_s": 3600 });
    until("it is held", async || {
        let (status, _) = world.ask_as_admin(Method::POST, path, &said).await?;
        assert_eq!(status, StatusCode::OK);
        Some(())
    })
    .await;
    world.until_dead().await;
    let (held, audited) = (
        world.count("breaker_overrides where name = 'posthog'").await,
        world.count("audit_log where action = 'breaker.opened'").await,
    );
    assert_eq!(held, 1);
    // Saying it again is another word, also where the first one was taken.
    let words = if step == "override_saved" { 2 } else { 1 };
    assert_eq!(audited, words);
    world.end().await;
}

/// A plan without a price is asked for, with a key.
pub async fn a_question_of_price(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    let order = json!({
        "plan_id": "enterprise",
        "customer_name": "شركة المثال",
        "customer_email": "buyer@example.com",
    });
    for _ in 0..2 {
        until("it is answered", async || {
            let path = "/api/v1/pricing/checkout";
            let (status, answer) = world.ask(Method::POST, path, Some("key"), Some(&order)).await?;
            assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("contact_sales")));
            Some(())
        })
        .await;
    }
    world.until_dead().await;
    assert_eq!(world.count("idempotency_keys where answer is not null").await, 1);
    assert_eq!(world.count("idempotency_keys").await, 1);
    world.end().await;
}

/// Somebody asks to be called, and tries again until that is accepted.
pub async fn a_visitor(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    let lead = json!({ "name": "زائر", "email": "visitor@example.com", "consent": true });
    until("it is accepted", async || {
        let path = "/api/v1/public/demo-request";
        let (status, _) = world.ask(Method::POST, path, None, Some(&lead)).await?;
        (status == StatusCode::ACCEPTED).then_some(())
    })
    .await;
    world.until_dead().await;
    // A lead that was told twice is there twice, and analytics knows of as many.
    let leads = world.count("demo_requests").await;
    assert!(leads >= 1);
    assert_eq!(world.count("outbox where name = 'demo_request'").await, leads);
    world.end().await;
}

/// An invoice that is one too many, and that the provider does not cancel.
pub async fn a_stubborn_surplus(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    world.sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Reset).once());
    world.sandbox.fault(Fault::before(Operation::ListInvoices, Trouble::status(500)).once());
    world.sandbox.fault(Fault::before(Operation::CancelInvoice, Trouble::status(400)));
    tokio::join!(world.buy(), world.repeat_the_first_invoice());
    until("a person is asked", async || {
        let last = "update invoices set cancel_failures = 4, cancel_at = now()
            where cancel_failures > 0 and cancel_token is null and cancel_at > now()";
        sqlx::query(last).execute(&world.db).await.unwrap();
        (world.count("invoices where cancel_outcome = 'given_up'").await == 1).then_some(())
    })
    .await;
    world.until_dead().await;
    assert_eq!(world.count("reviews where kind = 'surplus_invoice'").await, 1);
    assert_eq!(world.count("reviews").await, 1);
    world.end().await;
}

/// An event that names no payment waits to be settled, as an older release stored them. A person is
/// asked, and whoever is on duty is told, wherever it died.
pub async fn an_event_without_a_payment(db: PgPool, step: &'static str) {
    let event = "insert into webhook_events
        (id, source, dedupe_key, body, body_sha256, status, next_attempt_at, request_id, received_at)
        values (gen_random_uuid(), 'moyasar', 'e', '{}', '', 'received', now(), 'r', now())";
    sqlx::query(event).execute(&db).await.unwrap();
    let world = World::new(db, &[step]).await;
    until("it is settled", async || {
        (world.count("webhook_events where status = 'done'").await == 1).then_some(())
    })
    .await;
    until("it is announced", async || {
        (world.count("reviews where announced_at is not null").await == 1).then_some(())
    })
    .await;
    world.until_dead().await;
    assert_eq!(world.count("reviews where kind = 'malformed_event'").await, 1);
    assert_eq!(world.count("reviews").await, 1);
    // Told twice or once, it is one matter.
    let id: Uuid = sqlx::query_scalar("select id from reviews").fetch_one(&world.db).await.unwrap();
    let ledger = world.sandbox.ledger();
    let told = |item: &&SentryItem| item.payload["fingerprint"] == json!([format!("review {id}")]);
    assert!((1..=2).contains(&ledger.sentry_events().filter(told).count()));
    world.end().await;
}
