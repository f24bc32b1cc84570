//! How letters get in, and what becomes of one that is there already.

use chrono::TimeDelta;
use dealix::queue::{Letter, Payload, Pushed, Queue, State, Verdict};
use uuid::Uuid;

use crate::world::{QUEUE, World, at, letter, noon, read};

#[tokio::test]
async fn a_letter_is_ready_scheduled_or_dead_from_the_beginning() {
    let mut world = World::new();
    world.push(&letter("ready", 0)).await;
    world.push(&Letter { next_attempt_at: at(60), ..letter("scheduled", 0) }).await;
    let pushed = world.letters.push_dead(QUEUE, &letter("dead", 0), noon()).await.unwrap();
    assert_eq!(pushed, Pushed::New);
    assert_eq!(world.counts(noon()).await, [1, 1, 0, 1]);
    // What is due counts as ready before anybody has moved it, and after.
    assert_eq!(world.counts(at(60)).await, [2, 0, 0, 1]);
    assert_eq!(world.state("scheduled", at(60)).await, Some(State::Ready));
    assert_eq!(world.counts(at(60)).await, [2, 0, 0, 1]);
    for queue in Queue::ALL {
        let depth = world.letters.count(queue, noon()).await.unwrap().depth();
        assert_eq!(depth, if queue == QUEUE { 3 } else { 0 });
    }
    world.audit();
}

#[tokio::test]
async fn a_letter_is_pushed_once_in_whatever_state_it_is() {
    let mut world = World::new();
    world.push_all(&["ready", "held", "dead"]).await;
    let mut taken = world.take(at(9), 2).await;
    let held = taken.remove(1);
    assert!(world.settle(&taken[0], Verdict::Back { letter: None, due_at: at(9) }, at(9)).await);
    world.letters.push_dead(QUEUE, &letter("buried", 3), at(9)).await.unwrap();
    for id in ["ready", "held", "dead", "buried"] {
        let again = Letter { error: "again".into(), ..letter(id, 30) };
        assert_eq!(world.letters.push(QUEUE, &again, at(30)).await.unwrap(), Pushed::Known);
        assert_eq!(read(&world.get(id, at(9)).await.content).error, "it was refused", "{id}");
    }
    assert!(world.settle(&held, Verdict::Done, at(9)).await);
    assert_eq!(world.counts(at(9)).await, [2, 0, 0, 1]);
    world.audit();
}

#[tokio::test]
async fn a_stored_event_replaces_the_event_itself_and_is_found_by_its_own_error() {
    let mut world = World::new();
    let event = Payload::Event {
        event_id: "e1".into(),
        event_type: None,
        received_at: noon(),
        body: "{}".into(),
    };
    let first = Letter { payload: event, body_sha256: Some("aa".into()), ..letter("e1", 0) };
    world.push(&first).await;
    let held = world.take_one(noon()).await;
    let stored = Letter {
        payload: Payload::StoredEvent { row_id: Uuid::nil() },
        error: "the payment is unknown".into(),
        error_class: "unknown".into(),
        next_attempt_at: at(600),
        body_sha256: Some("bb".into()),
        ..letter("e1", 5)
    };
    assert_eq!(world.letters.take_over(QUEUE, &stored, at(5)).await.unwrap(), Pushed::Known);
    let entry = world.get("e1", at(5)).await;
    assert_eq!((entry.state, entry.due_at), (State::Scheduled, Some(at(600))));
    assert_eq!(*read(&entry.content), Letter { is_changed: true, ..stored.clone() });
    assert_eq!(entry.error_class, "unknown");
    assert!(!world.settle(&held, Verdict::Done, at(5)).await);
    // What says so already stays, also what a later release wrote.
    let later = Letter { error: "later".into(), ..stored };
    assert_eq!(world.letters.take_over(QUEUE, &later, at(6)).await.unwrap(), Pushed::Known);
    assert_eq!(read(&world.get("e1", at(6)).await.content).error, "the payment is unknown");
    world.audit();
}

#[tokio::test]
async fn what_an_operator_deleted_is_not_rebuilt_but_may_come_again() {
    let mut world = World::new();
    world.push(&letter("a", 0)).await;
    world.letters.delete(QUEUE, &["a".into()], "ops", at(1)).await.unwrap();
    let rebuilt = world.letters.rebuild(QUEUE, &letter("a", 2), at(2)).await.unwrap();
    assert_eq!(rebuilt, Pushed::Deleted);
    assert_eq!(world.letters.rebuild(QUEUE, &letter("b", 2), at(2)).await.unwrap(), Pushed::New);
    assert_eq!(world.letters.rebuild(QUEUE, &letter("b", 3), at(3)).await.unwrap(), Pushed::Known);
    assert_eq!(world.counts(at(3)).await, [1, 0, 0, 0]);
    world.push(&letter("a", 4)).await;
    world.audit();
}

#[tokio::test]
async fn letters_are_numbered_as_they_come() {
    let world = World::new();
    assert_eq!(world.letters.high_water(QUEUE).await.unwrap(), 0);
    world.push_all(&["a", "b"]).await;
    let again = world.letters.push(QUEUE, &letter("a", 9), at(9)).await.unwrap();
    assert_eq!((again, world.letters.high_water(QUEUE).await.unwrap()), (Pushed::Known, 2));
}

#[tokio::test]
async fn stats_tell_what_failed_last_and_how_old_the_oldest_is() {
    let world = World::new();
    let nothing = world.letters.stats(QUEUE, noon()).await.unwrap();
    assert_eq!((nothing.counts.depth(), nothing.last, nothing.paused), (0, None, None));
    world.letters.push_dead(QUEUE, &letter("dead", 0), noon()).await.unwrap();
    let late = Letter { error: "mail to a@example.com failed".into(), ..letter("late", 7) };
    world.push(&Letter { next_attempt_at: at(7) + TimeDelta::hours(1), ..late }).await;
    let stats = world.letters.stats(QUEUE, at(8)).await.unwrap();
    assert_eq!((stats.counts.oldest_at, stats.oldest_dead_at), (Some(at(7)), Some(noon())));
    let last = stats.last.unwrap();
    assert_eq!((last.error.as_str(), last.at), ("mail to [address] failed", at(7)));
    assert_eq!((last.error_class.as_str(), last.source.as_str()), ("refused", "email"));
}
