//! What operators may tell the machine, and what it does afterwards.

use super::tests::{OUTAGE, QUICK, World, secs};
use super::*;

impl World {
    fn force(&mut self, to: Force, for_secs: u64) {
        self.machine.force(to, self.now + secs(for_secs), self.now);
    }

    fn seen(&mut self) -> Vec<(State, State, Cause)> {
        let moves = self.machine.take_moves().into_iter();
        moves.map(|moved| (moved.from, moved.to, moved.cause)).collect()
    }
}

#[test]
fn held_open_it_lets_nothing_through_until_the_very_end() {
    let mut world = World::healthy();
    world.force(Force::Open, 30);
    let view = world.machine.view(world.now);
    assert_eq!((view.state, view.is_forced, view.retry), (State::Open, true, None));
    assert_eq!(world.acquire(), Err(Rejected { retry_after: secs(30) }));
    world.advance_millis(29_999);
    assert_eq!(world.acquire(), Err(Rejected { retry_after: Duration::from_millis(1) }));
    world.advance_millis(1);
    assert!(world.acquire().is_ok());
    assert!(!world.machine.view(world.now).is_forced);
    assert_eq!(
        world.seen(),
        [
            (State::Closed, State::Open, Cause::ForcedOpen),
            (State::Open, State::Closed, Cause::OverrideEnded),
        ]
    );
}

#[test]
fn held_open_for_a_day_it_is_worth_asking_again_after_a_minute() {
    let mut world = World::healthy();
    world.force(Force::Open, 86_400);
    assert_eq!(world.acquire(), Err(Rejected { retry_after: secs(60) }));
}

#[test]
fn held_closed_it_lets_everything_through_and_still_counts() {
    let mut world = World::open();
    world.force(Force::Closed, 90);
    let view = world.machine.view(world.now);
    assert_eq!((view.state, view.is_forced, view.retry), (State::Closed, true, None));
    world.calls(20, OUTAGE);
    assert_eq!(world.state(), State::Closed);
    let view = world.machine.view(world.now);
    assert_eq!((view.failures, view.tally.failures), (25, 25));
    world.calls(1, Verdict::Answered);
    assert_eq!(world.machine.view(world.now).failures, 0);
}

#[test]
fn what_was_seen_under_an_override_counts_once_it_has_ended() {
    let mut world = World::healthy();
    world.force(Force::Closed, 10);
    world.calls(20, OUTAGE);
    world.advance(10);
    assert_eq!(world.state(), State::Closed);
    world.calls(1, OUTAGE);
    assert_eq!(world.state(), State::Open);
}

#[test]
fn after_an_override_it_goes_on_from_where_it_was() {
    let mut world = World::open();
    world.force(Force::Closed, 20);
    world.advance(20);
    assert_eq!(world.state(), State::Open, "its own cool-down is not over");
    assert_eq!(world.cooldown(), secs(40));
    world.force(Force::Closed, 100);
    world.advance(99);
    assert_eq!(world.state(), State::Closed);
    world.advance(1);
    assert_eq!(world.state(), State::HalfOpen, "it ended meanwhile, unseen");
    world.seen();
    world.calls(1, Verdict::Answered);
    assert_eq!(world.seen(), [(State::HalfOpen, State::Closed, Cause::ProbeSucceeded)]);
}

#[test]
fn an_override_that_ends_before_the_cooldown_does_so_first() {
    let mut world = World::open();
    let began = world.now;
    world.force(Force::Closed, 50);
    world.advance(3_600);
    assert_eq!(world.state(), State::HalfOpen);
    let ends: Vec<_> = world.machine.take_moves().into_iter().map(|moved| moved.at).collect();
    assert_eq!(ends[2..], [began + secs(50), began + secs(60)]);
}

#[test]
fn a_newer_override_takes_the_place_of_an_older_one() {
    let mut world = World::healthy();
    world.force(Force::Open, 3_600);
    world.force(Force::Closed, 10);
    world.advance(10);
    assert_eq!(world.state(), State::Closed);
    assert!(!world.machine.view(world.now).is_forced, "the older one does not come back");
    assert_eq!(
        world.seen(),
        [
            (State::Closed, State::Open, Cause::ForcedOpen),
            (State::Open, State::Closed, Cause::ForcedClosed),
        ]
    );
}

#[test]
fn let_go_it_decides_by_itself_at_once() {
    let mut world = World::healthy();
    world.force(Force::Open, 3_600);
    world.machine.let_go(world.now);
    assert!(world.acquire().is_ok());
    assert_eq!(world.seen().pop().unwrap().2, Cause::OverrideEnded);
    let before = world.machine.ticket_for_all();
    world.machine.let_go(world.now);
    assert_eq!(world.machine.ticket_for_all(), before, "nobody held it, so nothing changed");

    let mut world = World::open();
    world.force(Force::Closed, 3_600);
    world.advance(60);
    world.machine.let_go(world.now);
    assert_eq!(world.state(), State::HalfOpen);
}

#[test]
fn answers_to_calls_from_before_an_override_and_from_under_it_are_not_mixed() {
    let mut world = World::healthy();
    let before = world.acquire().unwrap();
    world.force(Force::Closed, 10);
    let under = world.acquire().unwrap();
    world.record(before, OUTAGE, QUICK);
    assert_eq!(world.machine.view(world.now).failures, 0);
    world.advance(10);
    world.record(under, OUTAGE, QUICK);
    assert_eq!(world.machine.view(world.now).failures, 0);
}

#[test]
fn a_probe_under_way_when_an_override_begins_blocks_nobody_afterwards() {
    let mut world = World::half_open();
    let probe = world.acquire().unwrap();
    world.force(Force::Open, 5);
    world.record(probe, Verdict::Answered, QUICK);
    assert_eq!(world.state(), State::Open, "the operator's word stands");
    world.machine.cancel(probe);
    world.advance(5);
    assert_eq!(world.state(), State::HalfOpen);
    assert!(world.acquire().is_ok(), "its place is free");
    assert!(world.acquire().is_err(), "for one");
}

#[test]
fn a_reset_closes_it_ends_overrides_and_forgets_the_past() {
    for force in [None, Some(Force::Open), Some(Force::Closed)] {
        let mut world = World::half_open();
        assert_eq!(world.fail_probe(FULL_JITTER), secs(120));
        if let Some(to) = force {
            world.force(to, 3_600);
        }
        world.machine.reset(world.now);
        let view = world.machine.view(world.now);
        assert_eq!((view.state, view.is_forced, view.failures), (State::Closed, false, 0));
        assert_eq!((view.tally, view.retry), (Tally::default(), None));
        world.calls(5, OUTAGE);
        assert_eq!(world.cooldown(), secs(60), "the cool-down starts small again");
        world.advance(60);
        assert_eq!(world.fail_probe(FULL_JITTER), secs(120));
    }
}

#[test]
fn a_reset_makes_late_answers_worthless() {
    let mut world = World::healthy();
    let late: Vec<_> = (0..5).map(|_| world.acquire().unwrap()).collect();
    world.machine.reset(world.now);
    for ticket in late {
        world.record(ticket, OUTAGE, QUICK);
    }
    assert_eq!(world.state(), State::Closed);
    assert_eq!(world.seen(), [], "it was closed and is");
}

#[test]
fn everybody_gets_the_same_ticket_only_while_it_is_closed_by_itself() {
    let mut world = World::healthy();
    assert_eq!(world.machine.ticket_for_all(), world.acquire().ok());
    world.force(Force::Closed, 10);
    assert_eq!(world.machine.ticket_for_all(), None, "it ends with time");
    world.machine.reset(world.now);
    assert_eq!(world.machine.ticket_for_all(), world.acquire().ok());
    world.force(Force::Open, 10);
    assert_eq!(world.machine.ticket_for_all(), None);
    assert_eq!(World::open().machine.ticket_for_all(), None);
    assert_eq!(World::half_open().machine.ticket_for_all(), None);
    assert_ne!(World::healthy().acquire().unwrap().generation, 0, "which stands for none");
}

#[test]
fn a_change_tells_how_many_probes_in_a_row_had_failed() {
    let mut world = World::half_open();
    for _ in 0..3 {
        let cooldown = world.fail_probe(0);
        world.now += cooldown;
        assert_eq!(world.state(), State::HalfOpen);
    }
    let moves = world.machine.take_moves();
    let openings = moves.iter().filter(|moved| moved.to == State::Open);
    assert_eq!(openings.map(|moved| moved.failed_probes).collect::<Vec<_>>(), [0, 1, 2, 3]);
    world.calls(1, Verdict::Answered);
    assert_eq!(world.machine.take_moves().pop().unwrap().failed_probes, 0);
}
