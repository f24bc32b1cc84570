//! Looking at letters: filters, pages, cursors, groups.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use dealix::queue::{Cursor, Filter, Letter, Matching, State, Verdict};

use crate::world::{QUEUE, World, at, letter, noon};

fn in_states(states: &[State]) -> Filter {
    Filter { states: states.into(), ..Filter::default() }
}

/// Four letters of which each is in another state.
async fn four(world: &World) {
    world.push(&Letter { error_class: "timeout".into(), ..letter("held", 1) }).await;
    assert_eq!(world.take(at(1), 1).await.len(), 1);
    world.push(&Letter { source: "sms".into(), ..letter("ready", 2) }).await;
    let later = at(0) + TimeDelta::hours(1);
    world.push(&Letter { next_attempt_at: later, ..letter("scheduled", 3) }).await;
    let dead = Letter { request_id: "request-ready".into(), ..letter("dead", 4) };
    world.letters.push_dead(QUEUE, &dead, at(4)).await.unwrap();
}

#[tokio::test]
async fn every_filter_finds_what_it_says_oldest_first() {
    let mut world = World::new();
    four(&world).await;
    let all = ["held", "ready", "scheduled", "dead"];
    let any = Filter::default;
    let group = world.get("ready", at(9)).await.group;
    let text = |text: &str| Some(text.to_owned());
    let cases: Vec<(Filter, &[&str])> = vec![
        (any(), &all),
        (in_states(&State::ALL), &all),
        (in_states(&[State::InFlight]), &["held"]),
        (in_states(&[State::Ready]), &["ready"]),
        (in_states(&[State::Scheduled]), &["scheduled"]),
        (in_states(&[State::Dead]), &["dead"]),
        (in_states(&[State::Dead, State::Ready]), &["ready", "dead"]),
        (Filter { error_class: text("timeout"), ..any() }, &["held"]),
        (Filter { error_class: text("refused"), ..any() }, &["ready", "scheduled", "dead"]),
        (Filter { error_class: text("refus"), ..any() }, &[]),
        (Filter { source: text("sms"), ..any() }, &["ready"]),
        (Filter { source: text("email"), ..in_states(&[State::Dead]) }, &["dead"]),
        (Filter { group: Some(group.clone()), ..any() }, &["ready"]),
        (Filter { group: Some(group), source: text("email"), ..any() }, &[]),
        (Filter { request_id: text("request-ready"), ..any() }, &["ready", "dead"]),
        (Filter { request_id: text("request-ready"), ..in_states(&[State::Dead]) }, &["dead"]),
        (Filter { request_id: text("request"), ..any() }, &[]),
        (Filter { older_than: Some(at(3)), ..any() }, &["held", "ready"]),
        (Filter { mark: Some(3), ..any() }, &["held", "ready", "scheduled"]),
        (Filter { mark: Some(4), ..any() }, &all),
        (Filter { mark: Some(0), ..any() }, &[]),
    ];
    for (filter, expected) in cases {
        assert_eq!(world.ids(&filter, at(9)).await, expected, "{filter:?}");
        let matching = world.letters.count_matching(QUEUE, &filter, at(9)).await.unwrap();
        let at_least = u64::try_from(expected.len()).unwrap();
        assert_eq!(matching, Matching { at_least, is_exact: true }, "{filter:?}");
        let ids = world.letters.page_ids(QUEUE, &filter, None, 9, at(9)).await.unwrap().items;
        assert_eq!(ids, expected, "{filter:?}");
    }
    world.audit();
}

#[tokio::test]
async fn pages_go_on_behind_their_cursor_whatever_is_gone_or_new() {
    let world = World::new();
    // Several were made in the same moment.
    for (id, second) in [("a", 1), ("b", 1), ("c", 1), ("B", 1), ("é", 1), ("d", 2), ("e", 3)] {
        world.push(&letter(id, second)).await;
    }
    let all = Filter::default();
    for limit in 1..=8 {
        let (mut seen, mut after) = (Vec::new(), None::<Cursor>);
        loop {
            let page = world.letters.page(QUEUE, &all, after.as_ref(), limit, at(9));
            let page = page.await.unwrap();
            assert!(page.items.len() == limit || page.next.is_none());
            seen.extend(page.items.into_iter().map(|entry| entry.id));
            let Some(next) = page.next else { break };
            after = Some(next.to_string().parse().unwrap());
        }
        assert_eq!(seen, ["B", "a", "b", "c", "é", "d", "e"], "{limit}");
    }
    let first = world.letters.page_ids(QUEUE, &all, None, 3, at(9)).await.unwrap();
    assert_eq!(first.items, ["B", "a", "b"]);
    world.letters.delete(QUEUE, &["b".into(), "c".into()], "ops", at(9)).await.unwrap();
    world.push(&letter("bb", 1)).await;
    let rest = world.letters.page_ids(QUEUE, &all, first.next.as_ref(), 9, at(9));
    assert_eq!(rest.await.unwrap().items, ["bb", "é", "d", "e"]);
    let by_request = Filter { request_id: Some("request-d".into()), ..Filter::default() };
    let none = world.letters.page_ids(QUEUE, &by_request, first.next.as_ref(), 9, at(9)).await;
    assert_eq!(none.unwrap().items, ["d"]);
}

#[tokio::test]
async fn one_in_many_is_found_and_many_that_are_due_at_once_are_ready() {
    let mut world = World::new();
    for number in 0..1_200 {
        let due = Letter { next_attempt_at: at(5_000), ..letter(&format!("{number:04}"), number) };
        world.push(&due).await;
    }
    world.push(&Letter { source: "sms".into(), ..letter("last", 4_000) }).await;
    let needle = Filter {
        source: Some("sms".into()),
        error_class: Some("refused".into()),
        ..Filter::default()
    };
    assert_eq!(world.ids(&needle, at(4_000)).await, ["last"]);
    assert_eq!(world.counts(at(4_000)).await, [1, 1_200, 0, 0]);
    assert_eq!(world.ids(&in_states(&[State::Ready]), at(4_000)).await, ["last"]);

    assert_eq!(world.counts(at(5_000)).await, [1_201, 0, 0, 0]);
    for states in [[State::Ready], [State::Scheduled]] {
        let expected = if states == [State::Ready] { 1_201 } else { 0 };
        let filter = in_states(&states);
        let (mut seen, mut after) = (BTreeSet::new(), None);
        loop {
            let page = world.letters.page_ids(QUEUE, &filter, after.as_ref(), 100, at(5_000));
            let page = page.await.unwrap();
            assert!(page.items.into_iter().all(|id| seen.insert(id)));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), expected, "{states:?}");
        let matching = world.letters.count_matching(QUEUE, &filter, at(5_000)).await;
        assert_eq!(matching.unwrap().at_least, u64::try_from(expected).unwrap(), "{states:?}");
    }
    world.audit();
}

#[tokio::test]
async fn failures_of_a_kind_are_one_group() {
    let mut world = World::new();
    let failed =
        |id: &str, second, error: &str| Letter { error: error.into(), ..letter(id, second) };
    world.push(&failed("a", 1, "user 17 has no address a@example.com")).await;
    world.push(&failed("b", 2, "user 18 has no address b@example.com")).await;
    world.push(&failed("c", 3, "the template is missing")).await;
    let page = world.letters.groups(QUEUE, None, 1, at(3)).await.unwrap();
    let [group] = page.items.as_slice() else { panic!("{page:?}") };
    assert_eq!((group.count, group.sample_error.as_str()), (2, "user 17 has no address [address]"));
    assert_eq!((group.first_seen_at, group.last_seen_at), (at(1), at(2)));
    assert_eq!((group.first_release.as_str(), group.first_dead_at), ("r1", None));
    assert_eq!(group.error_class, "refused");
    let rest = world.letters.groups(QUEUE, page.next.as_ref(), 9, at(3)).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));
    let by_group = Filter { group: Some(group.fingerprint.clone()), ..Filter::default() };
    assert_eq!(world.ids(&by_group, at(3)).await, ["a", "b"]);

    // What is given up says when that was; what is settled leaves, and is remembered for a while.
    let taken = world.take(at(4), 2).await;
    world.settle(&taken[0], Verdict::Dead { letter: None }, at(5)).await;
    world.settle(&taken[1], Verdict::Done, at(6)).await;
    let groups = world.letters.groups(QUEUE, None, 9, at(6)).await.unwrap().items;
    assert_eq!((groups[0].count, groups[0].first_dead_at), (1, Some(at(5))));
    world.letters.delete(QUEUE, &["a".into()], "ops", at(7)).await.unwrap();
    assert_eq!(world.letters.groups(QUEUE, None, 9, at(7)).await.unwrap().items.len(), 1);
    world.audit();
    world.push(&failed("d", 50, "user 99 has no address d@example.com")).await;
    let groups = world.letters.groups(QUEUE, None, 9, at(50)).await.unwrap().items;
    assert_eq!((groups[0].first_seen_at, groups[0].last_seen_at), (at(1), at(50)));
    world.letters.delete(QUEUE, &["d".into()], "ops", at(51)).await.unwrap();
    let later = at(51) + TimeDelta::days(30);
    while world.letters.tidy(QUEUE, later).await.unwrap() > 0 {}
    world.audit();
    world.push(&failed("e", 60, "user 0 has no address e@example.com")).await;
    let groups = world.letters.groups(QUEUE, None, 9, later).await.unwrap().items;
    assert_eq!(groups[1].first_seen_at, at(60));
}

#[tokio::test]
async fn a_letter_that_is_not_there_is_not_found() {
    let world = World::new();
    assert!(world.letters.get(QUEUE, "nothing", noon()).await.unwrap().is_none());
    assert_eq!(world.ids(&Filter::default(), noon()).await, [""; 0]);
}
