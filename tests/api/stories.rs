//! Explain and timelines, CONTRACT section 11.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use dealix::queue::{Letter, Payload, Queue};
use dealix_sandbox::{Fault, Twist, cards};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::desk::{letter, letters, push};
use crate::harness::{ADMIN_KEY, READER_KEY, SERVICE_KEY, TestApp};
use crate::shop::{Bought, Shop};

fn explain(id: &str) -> String {
    format!("/api/v1/admin/explain/{id}")
}

async fn story(shop: &Shop, path: &str) -> Value {
    let answer = shop.app.get_as(READER_KEY, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

fn whats(story: &Value) -> Vec<&str> {
    story["timeline"].as_array().unwrap().iter().map(|it| it["what"].as_str().unwrap()).collect()
}

/// A shop in which one checkout was paid with the wrong sum.
async fn shop_with_a_question(db: PgPool) -> (Shop, Bought, String) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.sandbox.fault(Fault::payment(Twist::Charge { amount: Some(100), currency: None }).once());
    let payment = shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    (shop, bought, payment.id.clone())
}

async fn text_of(shop: &Shop, statement: &'static str) -> String {
    sqlx::query_scalar(statement).fetch_one(&shop.app.db).await.unwrap()
}

#[sqlx::test(migrations = "./migrations")]
async fn every_name_of_a_sale_tells_the_same_story_in_order(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    let payment = shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    let timeline = format!("/api/v1/admin/checkouts/{}/timeline", bought.checkout_id);
    let whole = story(&shop, &timeline).await;
    // The invoice has the time of the provider's clock.
    let (stored, ours): (Vec<_>, Vec<_>) =
        whats(&whole).into_iter().partition(|what| *what == "invoice_stored");
    assert_eq!(stored.len(), 1);
    let expected = [
        "checkout_started",
        "checkout_opened",
        "checkout_paid",
        "webhook_received",
        "payment_recorded",
        "payment_effect",
        "audit",
        "analytics_event",
        "analytics_event",
        "webhook_settled",
    ];
    assert_eq!(ours, expected);
    assert_eq!((&whole["is"], &whole["is_cut"]), (&json!("checkout"), &json!(false)));
    let text = |actor: &Value| (actor["is"].clone(), actor["text"].clone());
    let actors: Vec<_> = whole["actors"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(
        actors,
        [
            (json!("checkout"), json!("A checkout of 990 SAR: paid.")),
            (json!("invoice"), json!("An invoice: no longer to be paid.")),
            (json!("payment"), json!("A payment of 990 SAR: paid; what was bought was granted.")),
            (json!("subscription"), json!("A subscription: active.")),
            (json!("event"), json!("A webhook event: settled; what was bought was granted.")),
        ]
    );
    let event = text_of(&shop, "select dedupe_key from webhook_events").await;
    let names = [
        ("checkout", bought.checkout_id.clone()),
        ("invoice", bought.invoice_id.clone()),
        ("payment", payment.id.clone()),
        ("event", text_of(&shop, "select id::text from webhook_events").await),
        ("event", event.clone()),
        ("dead_letter", format!("moyasar:{event}")),
        ("analytics_event", text_of(&shop, "select uuid::text from outbox limit 1").await),
        ("request", text_of(&shop, "select request_id from checkouts").await),
        ("request", text_of(&shop, "select request_id from webhook_events").await),
        ("email", "BUYER@example.com".to_owned()),
    ];
    for (is, name) in names {
        let told = story(&shop, &explain(&name)).await;
        assert_eq!((&told["is"], &told["id"]), (&json!(is), &json!(name)));
        assert_eq!(told["timeline"], whole["timeline"], "{is} {name}");
        assert_eq!(told["actors"], whole["actors"], "{is} {name}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_question_and_its_answer_are_part_of_the_story(db: PgPool) {
    let (shop, _, payment) = Box::pin(shop_with_a_question(db)).await;
    let review = text_of(&shop, "select id::text from reviews").await;
    let path = format!("/api/v1/admin/reviews/{review}/resolve");
    let body = json!({ "resolution": "refunded", "reason": "someone@example.com was called" });
    shop.app.post_as(ADMIN_KEY, &path, body).await;
    let told = story(&shop, &explain(&review)).await;
    assert_eq!(told["is"], "review");
    let whats = whats(&told);
    let position = |what| whats.iter().position(|it| *it == what).unwrap();
    assert!(position("review_opened") < position("review_resolved"), "{whats:?}");
    let resolved = &told["timeline"][position("review_resolved")];
    assert_eq!(resolved["details"]["resolution"], "refunded");
    assert_eq!(resolved["details"]["reason"], "[address] was called");
    let held = "A payment of 1 SAR: paid; nothing was granted for it, a person must look.";
    let is_held = |it: &Value| it["id"] == payment && it["text"] == held;
    assert!(told["actors"].as_array().unwrap().iter().any(is_held), "{told}");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_story_speaks_arabic_and_names_nobody(db: PgPool) {
    let (shop, bought, _) = Box::pin(shop_with_a_question(db)).await;
    let request = Request::get(explain(&bought.checkout_id)).header("x-api-key", READER_KEY);
    let request = request.header("accept-language", "ar").body(Body::empty()).unwrap();
    let answer = shop.app.send(request).await;
    assert_eq!(answer.json()["timeline"][0]["text"], "بدأ عميل عملية شراء.");
    assert_eq!(
        answer.json()["actors"][0]["text"],
        "طلب شراء بمبلغ 990 ريال: يحتاج إلى مراجعة مسؤول."
    );
    let text = answer.text().to_lowercase();
    assert!(!text.contains("example.com") && !text.contains("512345678"), "{text}");
    assert!(!text.contains("المثال"), "{text}");
}

#[sqlx::test(migrations = "./migrations")]
async fn what_bears_no_name_is_not_found(db: PgPool) {
    let shop = Shop::open(db).await;
    let nobody = Uuid::new_v4().to_string();
    for name in [&nobody, "nobody", "nobody@example.com", "moyasar:nobody", "%D8%B3"] {
        let answer = shop.app.get_as(READER_KEY, &explain(name)).await;
        let found = (answer.status, answer.code());
        assert_eq!(found, (StatusCode::NOT_FOUND, "id-not-found".into()), "{name}");
    }
    for id in [&nobody, "nobody"] {
        let path = format!("/api/v1/admin/checkouts/{id}/timeline");
        let answer = shop.app.get_as(READER_KEY, &path).await;
        assert_eq!(answer.code(), "checkout-not-found");
        assert_eq!(shop.app.get_as(SERVICE_KEY, &path).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(shop.app.get(&explain("x")).await.status, StatusCode::UNAUTHORIZED);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_dead_letter_that_only_redis_has_is_explained_as_it_is_listed(db: PgPool) {
    let shop = Shop::open(db).await;
    let now = shop.app.clock.now();
    let event = |id: &str| Payload::Event {
        event_id: id.to_owned(),
        event_type: None,
        received_at: now,
        body: format!(r#"{{"id":"{id}","type":"payment_paid","data":{{}}}}"#),
    };
    let fresh = letter(&shop.app, "moyasar:e1", event("e1"));
    let dead = Letter {
        error: "someone@example.com bounced".to_owned(),
        error_class: "bounced".to_owned(),
        attempt: 5,
        last_attempt_at: Some(now),
        ..letter(&shop.app, "old:1", Payload::Job { body: "{}".to_owned() })
    };
    // What Postgres would say of it, it has forgotten.
    let row_id = Uuid::from_u128(1);
    let owed = letter(&shop.app, &format!("outbox:{row_id}"), Payload::OutboxRow { row_id });
    push(&shop.app, Queue::Webhooks, &fresh).await;
    letters(&shop.app).push_dead(Queue::Outbound, &dead, now).await.unwrap();
    push(&shop.app, Queue::Analytics, &owed).await;

    let text = "A dead letter: is due; refused.";
    for (name, id) in [("moyasar:e1", "moyasar:e1"), ("e1", "moyasar:e1"), (&owed.id, &owed.id)] {
        let told = story(&shop, &explain(name)).await;
        assert_eq!((&told["is"], &told["id"]), (&json!("dead_letter"), &json!(name)));
        let actor = json!({ "is": "dead_letter", "id": id, "state": "ready", "text": text });
        assert_eq!(told["actors"], json!([actor]));
        assert_eq!(whats(&told), ["letter_written"]);
        assert_eq!(told["timeline"][0]["request_id"], format!("request-of-{id}"));
    }
    let told = story(&shop, &explain("old:1")).await;
    assert_eq!(
        told["actors"][0]["text"],
        "A dead letter: given up, an operator decides; bounced; failed attempts: 5."
    );
    assert_eq!(told["timeline"][0]["details"], json!({ "queue": "outbound", "source": "mailer" }));
    let tried = &told["timeline"][1];
    assert_eq!((&tried["what"], &tried["subject"]), (&json!("letter_tried"), &json!("old:1")));
    let details = json!({ "error_class": "bounced", "error": "[address] bounced" });
    assert_eq!(tried["details"], details);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_analytics_refused_is_explained_by_its_letters_name(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    let row = text_of(&shop, "select uuid::text from outbox").await;
    let told = story(&shop, &explain(&format!("outbox:{row}"))).await;
    assert_eq!(told["is"], "dead_letter");
    assert_eq!(told["actors"][0]["id"], bought.checkout_id);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_name_that_only_a_queue_could_know_is_503_while_redis_is_away(db: PgPool) {
    let app = TestApp::start_with(db, &[("REDIS_URL", "redis://127.0.0.1:1/0")]);
    let answer = app.get_as(READER_KEY, &explain("moyasar:e1")).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "queue-unavailable".into())
    );
    let answer = app.get_as(READER_KEY, &explain("nobody@example.com")).await;
    assert_eq!(answer.code(), "id-not-found");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_long_story_shows_its_newest_happenings_and_says_that_it_is_cut(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    sqlx::query(
        "insert into audit_log (id, happened_at, actor, action, subject)
         select gen_random_uuid(), now() + n * interval '1 s', 'test', n::text, $1
         from generate_series(1, 250) n",
    )
    .bind(&bought.checkout_id)
    .execute(&shop.app.db)
    .await
    .unwrap();
    let told = story(&shop, &explain(&bought.checkout_id)).await;
    let lines = told["timeline"].as_array().unwrap();
    assert_eq!((lines.len(), &told["is_cut"]), (200, &json!(true)));
    let action = |line: &Value| line["details"]["action"].as_str().unwrap().to_owned();
    assert_eq!((action(&lines[0]), action(&lines[199])), ("51".to_owned(), "250".to_owned()));
}
