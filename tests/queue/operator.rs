//! What an operator does to letters, and that nothing of it is for good at once.

use chrono::TimeDelta;
use dealix::queue::Change::{self, Done, InFlight, Missing};
use dealix::queue::{Filter, KEPT, Letter, Payload, Reach, Restored, State};
use redis::Commands;

use crate::world::{LEASE, QUEUE, World, at, letter, noon, read};

fn these(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[tokio::test]
async fn what_is_deleted_returns_to_where_it_was() {
    let mut world = World::new();
    world.push_all(&["held", "ready"]).await;
    assert_eq!(world.take(at(0), 1).await.len(), 1);
    world.push(&Letter { next_attempt_at: at(99), ..letter("scheduled", 2) }).await;
    world.letters.push_dead(QUEUE, &letter("dead", 3), at(3)).await.unwrap();
    let () = world.raw.hset(world.key("deaths"), "scheduled", 2).unwrap();
    let ids = these(&["ready", "scheduled", "dead", "held", "gone"]);
    let changes = world.letters.delete(QUEUE, &ids, "ops", at(4)).await.unwrap();
    assert_eq!(changes, [Done, Done, Done, InFlight, Missing]);
    assert_eq!(world.counts(at(4)).await, [0, 0, 1, 0]);
    assert_eq!(world.letters.stats(QUEUE, at(4)).await.unwrap().binned, 3);
    world.audit();
    let changes = world.letters.restore(QUEUE, &ids, at(5)).await.unwrap();
    assert_eq!(changes, [Done, Done, Done, Missing, Missing]);
    assert_eq!(world.counts(at(5)).await, [1, 1, 1, 1]);
    let entry = world.get("scheduled", at(5)).await;
    assert_eq!((entry.due_at, entry.deaths), (Some(at(99)), 2));
    assert_eq!(*read(&entry.content), Letter { next_attempt_at: at(99), ..letter("scheduled", 2) });
    world.audit();
}

#[tokio::test]
async fn the_bin_is_emptied_part_by_part_and_skips_what_is_there_again() {
    let mut world = World::new();
    let ids: Vec<_> = (0..450).map(|number| format!("{number:04}")).collect();
    for (second, id) in (0..).zip(&ids) {
        world.letters.push_dead(QUEUE, &letter(id, second), at(second)).await.unwrap();
    }
    let now = at(2_000);
    for page in ids.chunks(200) {
        world.letters.delete(QUEUE, page, "ops", now).await.unwrap();
    }
    assert_eq!(world.counts(now).await, [0; 4]);

    // One is there again meanwhile, and stays.
    world.push(&letter("0050", 7_777)).await;
    let (mut restored, mut skipped) = (0, 0);
    loop {
        let part = world.letters.restore_page(QUEUE, skipped, now).await.unwrap();
        restored += part.restored;
        skipped += part.skipped;
        if part.is_over {
            break;
        }
    }
    assert_eq!((restored, skipped), (449, 1));
    assert_eq!(world.get("0050", now).await.created_at, at(7_777));
    assert_eq!(world.letters.stats(QUEUE, now).await.unwrap().binned, 1);
    world.audit();
}

#[tokio::test]
async fn after_thirty_days_what_was_deleted_is_gone() {
    let mut world = World::new();
    world.push_all(&["a", "b"]).await;
    world.letters.delete(QUEUE, &these(&["a"]), "ops", at(1)).await.unwrap();
    world.letters.delete(QUEUE, &these(&["b"]), "ops", at(2)).await.unwrap();
    assert_eq!(world.letters.tidy(QUEUE, at(0) + KEPT).await.unwrap(), 0);
    assert!(world.letters.tidy(QUEUE, at(1) + KEPT).await.unwrap() > 0);
    let restored = world.letters.restore_page(QUEUE, 0, at(2) + KEPT).await.unwrap();
    assert_eq!(restored, Restored { restored: 1, skipped: 0, is_over: true });
    assert_eq!(world.ids(&Filter::default(), at(2) + KEPT).await, ["b"]);
    world.audit();
}

#[tokio::test]
async fn an_edit_keeps_what_was_owed_first() {
    let mut world = World::new();
    world.letters.push_dead(QUEUE, &letter("a", 0), at(0)).await.unwrap();
    let letters = world.letters.clone();
    let edit = |body: &'static str| letters.edit(QUEUE, "a", body, at(1));
    assert_eq!(edit(r#"{"n":2}"#).await.unwrap(), Done);
    assert_eq!(world.state("a", at(1)).await, Some(State::Dead));
    assert_eq!(edit(r#"{"n": 3.50}"#).await.unwrap(), Done);
    let entry = world.get("a", at(1)).await;
    let edited = read(&entry.content);
    assert!(edited.payload == Payload::Job { body: r#"{"n": 3.50}"#.into() });
    assert!(edited.original == Some(letter("a", 0).payload));
    assert_eq!((entry.state, edited.attempt), (State::Dead, 1));
    world.audit();
    let taken =
        world.letters.take_these(QUEUE, &these(&["a"]), Reach::AlsoDead, at(1), LEASE).await;
    assert_eq!(taken.unwrap().in_hand.len(), 1);
    assert_eq!(edit("{}").await.unwrap(), InFlight);
    assert_eq!(world.letters.edit(QUEUE, "b", "{}", at(1)).await.unwrap(), Missing);
    let row = Payload::OutboxRow { row_id: uuid::Uuid::nil() };
    world.push(&Letter { payload: row, ..letter("row", 2) }).await;
    let () = world.raw.hset(world.key("letters"), "a", "{").unwrap();
    for id in ["row", "a"] {
        let change = world.letters.edit(QUEUE, id, "{}", at(2)).await.unwrap();
        assert_eq!(change, Change::Differs, "{id}");
    }
}

#[tokio::test]
async fn letters_of_the_layout_before_are_brought_over_once() {
    let mut world = World::new();
    let old = |world: &World, part: &str| world.key(part).replace(":2:", ":");
    let written = |id: &str| {
        format!(
            r#"{{"v":1,"id":"{id}","source":"moyasar","error":"no","error_class":"storage","attempt":0,"max_retries":5,"created_at":{},"next_attempt_at":0,"request_id":"r","payload":{{"kind":"job","body":"{{}}"}}}}"#,
            at(0).timestamp_millis()
        )
    };
    let ms = |second| at(second).timestamp_millis();
    for id in ["due", "later", "held", "slow", "dead", "both"] {
        let () = world.raw.hset(old(&world, "letters"), id, written(id)).unwrap();
        let () = world.raw.zadd(old(&world, "ages"), id, ms(0)).unwrap();
    }
    let () = world.raw.hset(old(&world, "letters"), "broken", "{").unwrap();
    for (part, id, second) in [
        ("due", "due", 1),
        ("due", "later", 500),
        ("due", "both", 1),
        ("due", "broken", 1),
        ("leased", "held", 400),
        ("leased", "slow", 2),
        ("dead", "dead", 2),
    ] {
        let () = world.raw.zadd(old(&world, part), id, ms(second)).unwrap();
    }
    for id in ["held", "slow"] {
        let () = world.raw.hset(old(&world, "leases"), id, "token").unwrap();
    }
    let () = world.raw.hset(old(&world, "deaths"), "slow", 2).unwrap();
    world.push(&letter("both", 5)).await;

    let (one, two) = (world.letters.tidy(QUEUE, at(9)), world.other.tidy(QUEUE, at(9)));
    let (one, two) = futures_util::future::join(one, two).await;
    assert_eq!(one.unwrap() + two.unwrap(), 6);
    assert_eq!(world.counts(at(9)).await, [4, 1, 0, 1]);
    let entry = world.get("slow", at(9)).await;
    assert_eq!((entry.deaths, entry.source.as_str(), entry.created_at), (2, "moyasar", noon()));
    assert_eq!(world.get("later", at(9)).await.due_at, Some(at(500)));
    assert_eq!(world.get("both", at(9)).await.source, "email");
    assert_eq!(world.get("broken", at(9)).await.error_class, "unreadable");
    world.audit();
    // Whoever of that release has one in hand still settles it.
    let left: Vec<String> = world.raw.hkeys(old(&world, "letters")).unwrap();
    assert_eq!(left, ["held"]);
    assert_eq!(world.letters.tidy(QUEUE, at(10)).await.unwrap(), 0);
    assert_eq!(world.letters.tidy(QUEUE, at(400)).await.unwrap(), 1);
    assert_eq!(world.letters.tidy(QUEUE, at(400) + TimeDelta::days(1)).await.unwrap(), 0);
    let keys: Vec<String> = world.raw.keys(old(&world, "*")).unwrap();
    assert!(keys.iter().all(|key| key.contains(":2:")), "{keys:?}");
    world.audit();
}
