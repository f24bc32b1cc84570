//! The rules of the breaker one by one, each at its very boundary.

use super::*;
use crate::clock::Clock;

const RULES: BreakerConfig = BreakerConfig {
    consecutive_failures: 5,
    window_secs: 60,
    window_calls: 0,
    minimum_calls: 10,
    failure_percent: 50,
    slow_percent: 80,
    slow_call_ms: 5_000,
    cooldown_secs: 60,
    max_cooldown_secs: 300,
    probe_lease_secs: 30,
};
/// Rules under which failures in a row never open it.
const RATES_ONLY: BreakerConfig = BreakerConfig { consecutive_failures: 1_000, ..RULES };
pub(super) const QUICK: Duration = Duration::from_millis(40);
pub(super) const OUTAGE: Verdict = Verdict::Outage { retry_after: None };

pub(super) struct World {
    pub machine: Machine,
    pub now: Instant,
}

impl World {
    pub fn new(rules: BreakerConfig) -> Self {
        let now = Clock::default().monotonic();
        Self { machine: Machine::new(rules, now), now }
    }

    pub fn healthy() -> Self {
        Self::new(RULES)
    }

    pub fn open() -> Self {
        let mut world = Self::new(RULES);
        world.calls(5, OUTAGE);
        assert_eq!(world.state(), State::Open);
        world
    }

    pub fn half_open() -> Self {
        let mut world = Self::open();
        world.advance(60);
        world
    }

    pub fn advance(&mut self, secs: u64) {
        self.advance_millis(secs * 1_000);
    }

    pub fn advance_millis(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    pub fn acquire(&mut self) -> Result<Ticket, Rejected> {
        self.machine.acquire(self.now)
    }

    pub fn record(&mut self, ticket: Ticket, verdict: Verdict, took: Duration) {
        self.machine.record(ticket, verdict, took, 0, self.now);
    }

    pub fn calls(&mut self, times: u32, verdict: Verdict) {
        self.calls_of(times, verdict, QUICK);
    }

    pub fn calls_of(&mut self, times: u32, verdict: Verdict, took: Duration) {
        for _ in 0..times {
            let ticket = self.acquire().unwrap();
            self.record(ticket, verdict, took);
        }
    }

    /// Lets a probe fail with that jitter; returns how long the breaker then stays open.
    pub fn fail_probe(&mut self, jitter: u32) -> Duration {
        let probe = self.acquire().unwrap();
        self.machine.record(probe, OUTAGE, QUICK, jitter, self.now);
        self.cooldown()
    }

    pub fn cooldown(&mut self) -> Duration {
        self.machine.view(self.now).retry.expect("open") - self.now
    }

    pub fn state(&mut self) -> State {
        self.machine.view(self.now).state
    }

    pub fn causes(&mut self) -> Vec<Cause> {
        self.machine.take_moves().into_iter().map(|moved| moved.cause).collect()
    }
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn five_failures_in_a_row_open_it_and_four_do_not() {
    let mut world = World::new(RULES);
    world.calls(4, OUTAGE);
    assert_eq!(world.state(), State::Closed);
    assert_eq!(world.machine.view(world.now).failures, 4);
    world.calls(1, OUTAGE);
    assert_eq!(world.state(), State::Open);
    assert_eq!(world.machine.view(world.now).failures, 5);
    assert_eq!(world.causes(), [Cause::ConsecutiveFailures]);
}

#[test]
fn one_good_answer_ends_the_row() {
    let mut world = World::new(RULES);
    world.calls(4, OUTAGE);
    world.calls(1, Verdict::Answered);
    assert_eq!(world.machine.view(world.now).failures, 0);
    world.calls(4, OUTAGE);
    assert_eq!(world.state(), State::Closed);
}

#[test]
fn a_threshold_of_zero_is_a_threshold_of_one() {
    let mut world = World::new(BreakerConfig { consecutive_failures: 0, ..RULES });
    world.calls(1, Verdict::Answered);
    assert_eq!(world.state(), State::Closed);
    world.calls(1, OUTAGE);
    assert_eq!(world.state(), State::Open);
}

#[test]
fn half_of_ten_calls_failing_open_it() {
    let mut world = World::new(RATES_ONLY);
    world.calls(4, OUTAGE);
    world.calls(5, Verdict::Answered);
    assert_eq!(world.state(), State::Closed, "four of nine, and nine are too few");
    world.calls(1, OUTAGE);
    assert_eq!(world.state(), State::Open);
    assert_eq!(world.causes(), [Cause::FailureRate]);
}

#[test]
fn less_than_half_failing_does_not_open_it() {
    let mut world = World::new(RATES_ONLY);
    world.calls(51, Verdict::Answered);
    world.calls(50, OUTAGE);
    assert_eq!(world.state(), State::Closed, "50 of 101");
    world.calls(1, OUTAGE);
    assert_eq!(world.state(), State::Open, "51 of 102");
}

#[test]
fn the_rate_is_judged_after_a_good_answer_too() {
    let mut world = World::new(RATES_ONLY);
    world.calls(9, OUTAGE);
    world.calls(1, Verdict::Answered);
    assert_eq!(world.state(), State::Open);
    assert_eq!(world.causes(), [Cause::FailureRate]);
}

#[test]
fn nine_failures_are_too_few_to_speak_of_a_rate() {
    let mut world = World::new(RATES_ONLY);
    world.calls(9, OUTAGE);
    assert_eq!(world.state(), State::Closed);
    world.calls(1, OUTAGE);
    assert_eq!(world.state(), State::Open);
}

#[test]
fn failures_that_left_the_window_no_longer_count() {
    let mut world = World::new(RATES_ONLY);
    world.calls(5, OUTAGE);
    world.advance(59);
    world.calls(4, Verdict::Answered);
    assert_eq!(world.machine.view(world.now).tally, Tally { calls: 9, failures: 5, slow: 0 });
    world.advance(1);
    world.calls(6, Verdict::Answered);
    assert_eq!(world.machine.view(world.now).tally, Tally { calls: 10, failures: 0, slow: 0 });
    assert_eq!(world.state(), State::Closed);
}

#[test]
fn of_a_window_of_calls_only_the_newest_are_judged() {
    let mut world = World::new(BreakerConfig { window_calls: 10, ..RATES_ONLY });
    world.calls(100, Verdict::Answered);
    world.calls(4, OUTAGE);
    assert_eq!(world.machine.view(world.now).tally, Tally { calls: 10, failures: 4, slow: 0 });
    assert_eq!(world.state(), State::Closed);
    world.calls(1, OUTAGE);
    assert_eq!(world.state(), State::Open, "5 of the last 10, although 5 of 105 in the minute");
    assert_eq!(world.causes(), [Cause::FailureRate]);
}

#[test]
fn eight_slow_calls_of_ten_open_it_and_seven_do_not() {
    let slow = Duration::from_millis(5_001);
    let mut world = World::new(RULES);
    world.calls_of(7, Verdict::Answered, slow);
    world.calls_of(3, Verdict::Answered, secs(5));
    assert_eq!(world.machine.view(world.now).tally, Tally { calls: 10, failures: 0, slow: 7 });
    assert_eq!(world.state(), State::Closed);

    let mut world = World::new(RULES);
    world.calls(2, Verdict::Answered);
    world.calls_of(7, Verdict::Answered, slow);
    assert_eq!(world.state(), State::Closed);
    world.calls_of(1, Verdict::Answered, slow);
    assert_eq!(world.state(), State::Open);
    assert_eq!(world.causes(), [Cause::SlowRate]);
}

#[test]
fn the_first_cooldown_is_exact_whatever_the_jitter() {
    for jitter in [0, 1, 500, FULL_JITTER] {
        let mut world = World::new(RULES);
        world.calls(4, OUTAGE);
        let fifth = world.acquire().unwrap();
        world.machine.record(fifth, OUTAGE, QUICK, jitter, world.now);
        assert_eq!(world.cooldown(), secs(60));
    }
}

#[test]
fn it_rejects_until_the_last_millisecond_of_the_cooldown() {
    let mut world = World::open();
    world.advance(20);
    assert_eq!(world.acquire(), Err(Rejected { retry_after: secs(40) }));
    world.advance_millis(39_999);
    assert_eq!(world.acquire(), Err(Rejected { retry_after: Duration::from_millis(1) }));
    world.advance_millis(1);
    assert!(world.acquire().is_ok());
}

#[test]
fn it_reads_half_open_once_the_cooldown_is_over_also_without_traffic() {
    let mut world = World::open();
    let opened = world.now;
    world.advance_millis(59_999);
    let view = world.machine.view(world.now);
    assert_eq!((view.state, view.retry), (State::Open, Some(opened + secs(60))));
    world.advance_millis(4_001);
    let view = world.machine.view(world.now);
    assert_eq!((view.state, view.retry), (State::HalfOpen, None));
    let ended = world.machine.take_moves().pop().unwrap();
    assert_eq!(ended.at, opened + secs(60), "dated to its end, not to when somebody looked");
    assert_eq!((ended.from, ended.to), (State::Open, State::HalfOpen));
}

#[test]
fn looking_again_and_again_takes_no_probe() {
    let mut world = World::half_open();
    for _ in 0..10 {
        assert_eq!(world.state(), State::HalfOpen);
    }
    assert!(world.acquire().is_ok());
}

#[test]
fn half_open_lets_one_probe_through_at_a_time() {
    let mut world = World::half_open();
    let probe = world.acquire().unwrap();
    for _ in 0..10 {
        assert_eq!(world.acquire(), Err(Rejected { retry_after: secs(1) }));
    }
    world.record(probe, Verdict::Answered, QUICK);
    assert_eq!(world.state(), State::Closed);
    assert!(world.acquire().is_ok() && world.acquire().is_ok());
}

#[test]
fn the_first_success_closes_it_and_the_past_is_forgotten() {
    let mut world = World::half_open();
    world.calls(1, Verdict::Answered);
    let view = world.machine.view(world.now);
    assert_eq!(view.state, State::Closed);
    assert_eq!((view.failures, view.tally), (0, Tally::default()));
    assert_eq!(view.retry, None);
    world.calls(4, OUTAGE);
    assert_eq!(world.state(), State::Closed);
    assert_eq!(
        world.causes(),
        [Cause::ConsecutiveFailures, Cause::CooldownOver, Cause::ProbeSucceeded]
    );
}

#[test]
fn a_failed_probe_opens_it_again() {
    let mut world = World::half_open();
    world.calls(1, OUTAGE);
    assert_eq!(world.state(), State::Open);
    assert_eq!(world.machine.view(world.now).failures, 6);
    assert!(world.acquire().is_err());
    assert_eq!(world.causes().pop(), Some(Cause::ProbeFailed));
}

#[test]
fn a_slow_probe_opens_it_again_and_one_just_in_time_closes_it() {
    let mut world = World::half_open();
    world.calls_of(1, Verdict::Answered, Duration::from_millis(5_001));
    assert_eq!(world.state(), State::Open);
    assert_eq!(world.causes().pop(), Some(Cause::ProbeSlow));

    let mut world = World::half_open();
    world.calls_of(1, Verdict::Answered, secs(5));
    assert_eq!(world.state(), State::Closed);
}

#[test]
fn the_cooldown_doubles_with_each_failed_probe_up_to_its_cap() {
    let mut world = World::half_open();
    for expected in [120, 240, 300, 300] {
        assert_eq!(world.fail_probe(FULL_JITTER), secs(expected));
        world.advance(expected);
    }
}

#[test]
fn jitter_takes_away_at_most_half_and_never_goes_below_the_first_cooldown() {
    let mut world = World::half_open();
    for (jitter, expected) in [(0, 60), (0, 120), (0, 150), (500, 225), (2 * FULL_JITTER, 300)] {
        assert_eq!(world.fail_probe(jitter), secs(expected));
        world.advance(expected);
    }
    let rules = BreakerConfig { max_cooldown_secs: 10, ..RULES };
    let mut world = World::new(rules);
    world.calls(5, OUTAGE);
    world.advance(60);
    assert_eq!(world.fail_probe(0), secs(60), "a cap below the first cool-down is not one");
}

#[test]
fn the_cooldown_stays_capped_after_forty_failed_probes() {
    let mut world = World::half_open();
    for _ in 0..40 {
        let cooldown = world.fail_probe(FULL_JITTER);
        world.now += cooldown;
    }
    assert_eq!(world.fail_probe(FULL_JITTER), secs(300));
}

#[test]
fn the_cooldown_starts_small_again_once_it_was_closed() {
    let mut world = World::half_open();
    world.fail_probe(FULL_JITTER);
    world.advance(120);
    world.calls(1, Verdict::Answered);
    world.calls(5, OUTAGE);
    assert_eq!(world.cooldown(), secs(60));
    world.advance(60);
    assert_eq!(world.fail_probe(FULL_JITTER), secs(120));
}

#[test]
fn retry_after_is_honoured_up_to_the_longest_cooldown() {
    for (asked, expected) in [(1, 60), (61, 61), (300, 300), (301, 300), (86_400, 300)] {
        let outage = Verdict::Outage { retry_after: Some(secs(asked)) };
        let mut world = World::new(RULES);
        world.calls(5, outage);
        assert_eq!(world.cooldown(), secs(expected), "the service asked for {asked} s");

        let mut world = World::half_open();
        world.calls(1, outage);
        assert_eq!(world.cooldown(), secs(expected), "it asked the probe for {asked} s");
    }
}

#[test]
fn a_cancelled_probe_frees_its_place_at_once() {
    let mut world = World::half_open();
    let probe = world.acquire().unwrap();
    world.machine.cancel(probe);
    assert_eq!(world.state(), State::HalfOpen);
    assert!(world.acquire().is_ok());
    assert!(world.acquire().is_err());
}

#[test]
fn a_hung_probe_is_given_up_when_its_lease_ends() {
    let mut world = World::half_open();
    let hung = world.acquire().unwrap();
    world.advance_millis(29_999);
    assert!(world.acquire().is_err());
    world.advance_millis(1);
    let next = world.acquire().unwrap();
    assert!(world.acquire().is_err());

    world.record(hung, OUTAGE, secs(30));
    assert_eq!(world.state(), State::HalfOpen, "what a given-up probe says does not count");
    world.machine.cancel(hung);
    assert!(world.acquire().is_err(), "nor does it free the next one's place");
    world.record(next, Verdict::Answered, QUICK);
    assert_eq!(world.state(), State::Closed);
}

#[test]
fn a_late_probe_counts_while_nobody_took_its_place() {
    let mut world = World::half_open();
    let probe = world.acquire().unwrap();
    world.advance(31);
    world.record(probe, OUTAGE, secs(31));
    assert_eq!(world.state(), State::Open);
}

#[test]
fn late_answers_of_an_older_state_do_not_count() {
    let mut world = World::new(RULES);
    let late: Vec<_> = (0..20).map(|_| world.acquire().unwrap()).collect();
    world.calls(5, OUTAGE);
    world.record(late[0], Verdict::Answered, QUICK);
    assert_eq!(world.state(), State::Open, "an old success does not close an open breaker");
    world.record(late[1], OUTAGE, QUICK);
    assert_eq!(world.cooldown(), secs(60));
    assert_eq!(world.machine.view(world.now).failures, 5);

    world.advance(60);
    world.record(late[2], Verdict::Answered, QUICK);
    assert_eq!(world.state(), State::HalfOpen, "nor a half-open one");
    world.record(late[3], OUTAGE, QUICK);
    assert_eq!(world.state(), State::HalfOpen, "and an old failure is no failed probe");
    world.machine.cancel(late[4]);

    world.calls(1, Verdict::Answered);
    for ticket in &late[5..] {
        world.record(*ticket, OUTAGE, QUICK);
    }
    assert_eq!(world.state(), State::Closed, "old failures do not open a closed one");
    assert_eq!(world.machine.view(world.now).tally, Tally::default());
}

#[test]
fn an_answer_that_comes_with_the_end_of_the_cooldown_is_late_too() {
    let mut world = World::new(RULES);
    let late = world.acquire().unwrap();
    world.calls(5, OUTAGE);
    world.advance(60);
    world.record(late, Verdict::Answered, QUICK);
    assert_eq!(world.state(), State::HalfOpen);
}

#[test]
fn cancelling_a_call_of_a_closed_breaker_changes_nothing() {
    let mut world = World::new(RULES);
    world.calls(4, OUTAGE);
    let ticket = world.acquire().unwrap();
    world.machine.cancel(ticket);
    assert_eq!(world.machine.view(world.now).tally.calls, 4);
    world.calls(1, OUTAGE);
    assert_eq!(world.state(), State::Open);
}

#[test]
fn every_state_and_cause_has_its_name_on_the_wire() {
    let states = [State::Closed, State::Open, State::HalfOpen].map(State::name);
    assert_eq!(states, ["closed", "open", "half_open"]);
    let causes = [
        Cause::ConsecutiveFailures,
        Cause::FailureRate,
        Cause::SlowRate,
        Cause::CooldownOver,
        Cause::ProbeSucceeded,
        Cause::ProbeFailed,
        Cause::ProbeSlow,
        Cause::ForcedOpen,
        Cause::ForcedClosed,
        Cause::OverrideEnded,
        Cause::Reset,
    ];
    assert_eq!(
        causes.map(Cause::name),
        [
            "consecutive_failures",
            "failure_rate",
            "slow_rate",
            "cooldown_over",
            "probe_succeeded",
            "probe_failed",
            "probe_slow",
            "forced_open",
            "forced_closed",
            "override_ended",
            "reset"
        ]
    );
}
