//! Letters in hand: leases, tokens, deaths, and what becomes of each letter.

use dealix::queue::{Content, Letter, Origin, Pause, Reach, State, Taken, Verdict};
use redis::Commands;

use crate::world::{LEASE, QUEUE, World, at, ids, letter, noon, read};

#[tokio::test]
async fn workers_take_what_is_due_for_longest() {
    let mut world = World::new();
    // Made first, but due last: what was held goes to the end of the line.
    world.push(&Letter { next_attempt_at: at(50), ..letter("old", 0) }).await;
    world.push(&letter("one", 10)).await;
    world.push(&letter("two", 20)).await;
    world.push(&Letter { next_attempt_at: at(999), ..letter("later", 30) }).await;
    let taken = world.take(at(60), 2).await;
    assert_eq!(ids(&taken), ["one", "two"]);
    assert_eq!(*read(&taken[0].content), letter("one", 10));
    assert_eq!(ids(&world.take(at(60), 9).await), ["old"]);
    assert_eq!(ids(&world.take(at(60), 9).await), [""; 0]);
    assert_eq!(world.counts(at(60)).await, [0, 1, 3, 0]);
    world.audit();
}

#[tokio::test]
async fn many_are_settled_in_one_round_trip_and_each_as_it_was_said() {
    let mut world = World::new();
    world.push_all(&["done", "back", "as it was", "dead"]).await;
    let taken = world.take(at(9), 4).await;
    let failed = |id| Letter {
        error: "the number 7 is wrong".into(),
        error_class: "invalid".into(),
        attempt: 2,
        last_attempt_at: Some(at(9)),
        ..letter(id, 1)
    };
    let (back, dead) = (failed("back"), Letter { created_at: at(3), ..failed("dead") });
    let verdicts = [
        (&taken[0], Verdict::Done),
        (&taken[1], Verdict::Back { letter: Some(&back), due_at: at(100) }),
        (&taken[2], Verdict::Back { letter: None, due_at: at(9) }),
        (&taken[3], Verdict::Dead { letter: Some(&dead) }),
    ];
    assert_eq!(world.letters.settle(QUEUE, at(9), &verdicts).await.unwrap(), [true; 4]);
    assert_eq!(world.counts(at(9)).await, [1, 1, 0, 1]);
    let entry = world.get("back", at(9)).await;
    assert_eq!((entry.due_at, entry.error_class.as_str()), (Some(at(100)), "invalid"));
    assert_eq!(*read(&entry.content), back);
    assert_eq!(*read(&world.get("as it was", at(9)).await.content), letter("as it was", 2));
    let last = world.letters.stats(QUEUE, at(9)).await.unwrap().last.unwrap();
    assert_eq!((last.error.as_str(), last.at), ("the number 7 is wrong", at(9)));
    // Nobody settles twice.
    assert_eq!(world.letters.settle(QUEUE, at(9), &verdicts).await.unwrap(), [false; 4]);
    world.audit();
}

#[tokio::test]
async fn a_lease_that_ends_gives_the_letter_back_and_its_holder_has_nothing_to_say() {
    let mut world = World::new();
    world.push(&letter("a", 0)).await;
    let first = world.take_one(noon()).await;
    assert_eq!(world.get("a", at(29)).await.lease_until, Some(at(30)));
    assert_eq!(world.state("a", at(29)).await, Some(State::InFlight));
    let mut again = world.other.take(QUEUE, at(60), LEASE, 1).await.unwrap();
    let second = again.remove(0);
    assert_eq!(second.deaths, 1);
    assert!(!world.settle(&first, Verdict::Done, at(60)).await);
    assert!(!world.settle(&first, Verdict::Back { letter: None, due_at: at(60) }, at(60)).await);
    assert!(!world.settle(&first, Verdict::Dead { letter: None }, at(60)).await);
    world.audit();
    assert!(world.settle(&second, Verdict::Done, at(60)).await);
    assert_eq!(world.counts(at(60)).await, [0; 4]);
    world.audit();
}

#[tokio::test]
async fn a_process_that_still_asks_did_not_die() {
    let world = World::new();
    world.push(&letter("a", 0)).await;
    let _slow = world.take_one(noon()).await;
    assert_eq!(world.take_one(at(30)).await.deaths, 0);
}

#[tokio::test]
async fn a_letter_whose_worker_died_is_taken_alone_until_a_worker_gives_it_back() {
    let mut world = World::new();
    world.push_all(&["a", "b", "c"]).await;
    let () = world.raw.hset(world.key("deaths"), "b", 2).unwrap();
    assert_eq!(ids(&world.take(at(9), 3).await), ["a"]);
    let alone = world.take(at(9), 3).await;
    assert_eq!((ids(&alone), alone[0].deaths), (vec!["b".to_owned()], 2));
    world.settle(&alone[0], Verdict::Back { letter: None, due_at: at(9) }, at(9)).await;
    assert_eq!(ids(&world.take(at(9), 3).await), ["c", "b"]);
    world.audit();
}

#[tokio::test]
async fn a_paused_queue_gives_workers_nothing_and_an_operator_everything() {
    let world = World::new();
    world.push(&letter("a", 0)).await;
    world.push(&Letter { next_attempt_at: at(99), ..letter("b", 1) }).await;
    let pause = Pause { by: "ops".into(), reason: "a deploy".into(), at: at(2) };
    world.letters.pause(QUEUE, &pause).await.unwrap();
    assert_eq!(world.letters.stats(QUEUE, at(2)).await.unwrap().paused, Some(pause.clone()));
    assert_eq!(world.letters.paused(QUEUE).await.unwrap(), Some(pause));
    assert!(world.take(at(100), 9).await.is_empty());
    let taken = world.letters.take_waiting(QUEUE, at(2), LEASE, 9, None, None).await.unwrap();
    assert_eq!((ids(&taken.items), taken.next), (vec!["a".to_owned(), "b".to_owned()], None));
    assert!(world.letters.resume(QUEUE).await.unwrap());
    assert!(!world.letters.resume(QUEUE).await.unwrap());
    assert_eq!(world.letters.paused(QUEUE).await.unwrap(), None);
    assert_eq!(world.take(at(100), 9).await.len(), 2);
}

#[tokio::test]
async fn an_operator_takes_by_id_and_the_dead_only_when_they_are_meant() {
    let mut world = World::new();
    world.push_all(&["ready", "held"]).await;
    world.push(&Letter { next_attempt_at: at(99), ..letter("scheduled", 2) }).await;
    world.letters.push_dead(QUEUE, &letter("dead", 3), at(3)).await.unwrap();
    let one = ["held".to_owned()];
    let held = world.letters.take_these(QUEUE, &one, Reach::Waiting, at(3), LEASE);
    assert_eq!(ids(&held.await.unwrap().in_hand), ["held"]);
    let all = ["dead", "gone", "held", "scheduled", "ready"].map(str::to_owned);
    let Taken { in_hand, left } =
        world.letters.take_these(QUEUE, &all, Reach::Waiting, at(4), LEASE).await.unwrap();
    assert_eq!((ids(&in_hand), left.len()), (vec!["scheduled".to_owned(), "ready".to_owned()], 0));
    let Taken { in_hand, .. } =
        world.letters.take_these(QUEUE, &all, Reach::AlsoDead, at(4), LEASE).await.unwrap();
    assert_eq!((ids(&in_hand), in_hand[0].from), (vec!["dead".to_owned()], Origin::Dead));
    // Only an operator's word moves the dead: the end of a lease is none.
    assert_eq!(world.counts(at(99)).await, [0, 0, 4, 0]);
    world.take(at(99), 0).await;
    assert_eq!(world.state("dead", at(99)).await, Some(State::Dead));
    assert_eq!(world.counts(at(99)).await, [3, 0, 0, 1]);
    world.audit();
}

#[tokio::test]
async fn a_letter_that_has_to_be_alone_leaves_the_others_for_the_next_time() {
    let mut world = World::new();
    world.push_all(&["a", "b", "c"]).await;
    let () = world.raw.hset(world.key("deaths"), "b", 1).unwrap();
    let mut wanted = ["a", "b", "c"].map(str::to_owned).to_vec();
    for expected in ["a", "b", "c"] {
        let Taken { in_hand, left } =
            world.letters.take_these(QUEUE, &wanted, Reach::Waiting, at(9), LEASE).await.unwrap();
        assert_eq!(ids(&in_hand), [expected]);
        wanted = left;
    }
    assert_eq!(wanted, [""; 0]);
}

#[tokio::test]
async fn a_drain_takes_each_letter_at_most_once_and_none_that_comes_later() {
    let mut world = World::new();
    world.push_all(&["a", "b", "c", "d", "e"]).await;
    let () = world.raw.hset(world.key("deaths"), "c", 1).unwrap();
    let mark = world.letters.high_water(QUEUE).await.unwrap();
    world.push(&letter("new", 2)).await;
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = world.letters.take_waiting(QUEUE, at(9), LEASE, 2, after.as_ref(), Some(mark));
        let page = page.await.unwrap();
        for held in &page.items {
            seen.push(held.id().into_owned());
            world.settle(held, Verdict::Back { letter: None, due_at: at(9) }, at(9)).await;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    world.audit();
}

#[tokio::test]
async fn what_cannot_be_read_is_handed_out_as_such_and_can_be_set_aside() {
    let mut world = World::new();
    world.push_all(&["broken", "newer"]).await;
    let () = world.raw.hset(world.key("letters"), "broken", b"\xff{").unwrap();
    let () = world.raw.hset(world.key("letters"), "newer", r#"{"v":2}"#).unwrap();
    let taken = world.take(at(9), 9).await;
    assert!(matches!(taken[0].content, Content::Unreadable));
    assert!(matches!(taken[1].content, Content::Newer));
    assert!(world.settle(&taken[0], Verdict::Dead { letter: None }, at(9)).await);
    assert!(world.settle(&taken[1], Verdict::Back { letter: None, due_at: at(300) }, at(9)).await);
    assert_eq!(world.counts(at(9)).await, [0, 1, 0, 1]);
    let entry = world.get("broken", at(9)).await;
    assert!(matches!(entry.content, Content::Unreadable));
    assert_eq!((entry.source.as_str(), entry.created_at), ("email", noon()));
}
