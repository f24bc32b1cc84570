//! The machine against a plain model of the rules, under random interleavings of calls, answers,
//! drops, steps of time, and what operators say.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::clock::Clock;

/// Small numbers, so that random steps reach every corner often.
const RULES: BreakerConfig = BreakerConfig {
    consecutive_failures: 3,
    window_secs: 60,
    window_calls: 0,
    minimum_calls: 6,
    failure_percent: 50,
    slow_percent: 80,
    slow_call_ms: 5_000,
    cooldown_secs: 10,
    max_cooldown_secs: 45,
    probe_lease_secs: 30,
};

#[derive(Clone, Debug)]
enum Act {
    Wait { millis: u64 },
    Acquire,
    Answer { nth: usize, took: u64 },
    Fail { nth: usize, took: u64, retry_after: Option<u64>, jitter: u32 },
    Drop { nth: usize },
    Force { to: Force, millis: u64 },
    LetGo,
    Reset,
    Look,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let took = prop_oneof![3 => Just(10), 1 => 4_999_u64..5_002];
    // Even, so that half a cool-down times it is whole milliseconds.
    let jitter = (0..=FULL_JITTER / 2).prop_map(|half| 2 * half);
    let act = prop_oneof![
        4 => prop_oneof![0_u64..1_500, 9_999_u64..10_002, 0_u64..70_000]
            .prop_map(|millis| Act::Wait { millis }),
        8 => Just(Act::Acquire),
        4 => (0_usize..12, took.clone()).prop_map(|(nth, took)| Act::Answer { nth, took }),
        6 => (0_usize..12, took, proptest::option::weighted(0.2, 0_u64..90), jitter)
            .prop_map(|(nth, took, retry_after, jitter)| Act::Fail { nth, took, retry_after, jitter }),
        2 => (0_usize..12).prop_map(|nth| Act::Drop { nth }),
        1 => (prop_oneof![Just(Force::Open), Just(Force::Closed)], 1_u64..40_000)
            .prop_map(|(to, millis)| Act::Force { to, millis }),
        1 => prop_oneof![Just(Act::LetGo), Just(Act::Reset), Just(Act::Look)],
    ];
    vec(act, 1..300)
}

/// The rules once more, in milliseconds and with whole lists where the machine has counters.
#[derive(Default)]
struct Model {
    now: u64,
    /// The newest calls alone count, if there are more of them.
    most: Option<usize>,
    /// Names the phase: grows whenever calls so far no longer matter.
    phase: usize,
    shut: Option<Shut>,
    /// What an operator said, and until when.
    held: Option<(Force, u64)>,
    /// When each call of this closed phase ended, whether it failed, whether it was slow.
    calls: Vec<(u64, bool, bool)>,
    failed_in_a_row: u32,
}

struct Shut {
    until: u64,
    failed_probes: u32,
    /// The number of the call that is the probe, and when it is given up.
    probe: Option<(usize, u64)>,
}

/// A call in the model: its number, and the phase it began in.
#[derive(Clone, Copy)]
struct Call {
    number: usize,
    phase: usize,
}

impl Model {
    fn own_state(&self) -> State {
        match &self.shut {
            None => State::Closed,
            Some(shut) if self.now < shut.until => State::Open,
            Some(_) => State::HalfOpen,
        }
    }

    fn state(&self) -> State {
        match self.held {
            Some((Force::Open, _)) => State::Open,
            Some((Force::Closed, _)) => State::Closed,
            None => self.own_state(),
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now += millis;
        if self.held.is_some_and(|(_, until)| until <= self.now) {
            self.hold(None);
        }
    }

    fn hold(&mut self, word: Option<(Force, u64)>) {
        if word.is_none() && self.held.is_none() {
            return;
        }
        self.held = word;
        self.phase += 1;
        if let Some(shut) = &mut self.shut {
            shut.probe = None;
        }
    }

    fn begin_anew(&mut self) {
        self.held = None;
        self.shut = None;
        self.phase += 1;
        self.calls.clear();
        self.failed_in_a_row = 0;
    }

    fn may_call(&mut self, number: usize) -> bool {
        let (state, now) = (self.state(), self.now);
        if state != State::HalfOpen {
            return state == State::Closed;
        }
        let Some(shut) = &mut self.shut else { return true };
        if shut.probe.is_some_and(|(_, until)| now < until) {
            return false;
        }
        shut.probe = Some((number, now + 30_000));
        true
    }

    fn counts(&self, call: Call) -> bool {
        match &self.shut {
            Some(shut) if self.held.is_none() => {
                shut.probe.is_some_and(|(number, _)| number == call.number)
            }
            _ => call.phase == self.phase,
        }
    }

    fn end(&mut self, call: Call, verdict: Verdict, took: u64, jitter: u32) {
        if !self.counts(call) {
            return;
        }
        let is_slow = took > 5_000;
        let (failed, asked_for) = match verdict {
            Verdict::Answered => (false, 0),
            Verdict::Outage { retry_after } => {
                (true, retry_after.map_or(0, |asked| asked.as_secs().min(45) * 1_000))
            }
        };
        if failed {
            self.failed_in_a_row += 1;
        }
        if let Some(shut) = self.shut.as_mut().filter(|_| self.held.is_none()) {
            if !failed && !is_slow {
                self.begin_anew();
                return;
            }
            shut.probe = None;
            shut.failed_probes += 1;
            let whole = 45_000.min(10_000 << shut.failed_probes.min(10));
            let grown = whole / 2 + whole / 2 * u64::from(jitter) / 1_000;
            shut.until = self.now + grown.max(10_000).max(asked_for);
            return;
        }
        if !failed {
            self.failed_in_a_row = 0;
        }
        self.calls.push((self.now, failed, is_slow));
        if self.held.is_none() && self.should_open() {
            let until = self.now + asked_for.max(10_000);
            self.shut = Some(Shut { until, failed_probes: 0, probe: None });
            self.phase += 1;
        }
    }

    fn should_open(&self) -> bool {
        let (calls, failed, slow) = self.tally();
        self.failed_in_a_row >= 3 || (calls >= 6 && (failed * 2 >= calls || slow * 10 >= calls * 8))
    }

    fn tally(&self) -> (usize, usize, usize) {
        let second = |millis: u64| millis / 1_000;
        let recent = |at: u64| second(at) + 60 > second(self.now);
        let newest_first = self.calls.iter().rev().take(self.most.unwrap_or(usize::MAX));
        let recent: Vec<_> = newest_first.filter(|(at, ..)| recent(*at)).collect();
        let failed = recent.iter().filter(|(_, failed, _)| *failed).count();
        (recent.len(), failed, recent.iter().filter(|(.., slow)| *slow).count())
    }

    fn give_up(&mut self, call: Call) {
        if let Some(shut) = &mut self.shut
            && shut.probe.is_some_and(|(number, _)| number == call.number)
        {
            shut.probe = None;
        }
    }
}

/// A call that was let through and has not ended.
type Pending = (Ticket, Call);

/// Does the same to both; the machine may give a ticket only where the model lets a call through.
fn act(
    (machine, model): (&mut Machine, &mut Model),
    pending: &mut Vec<Pending>,
    (number, act): (usize, Act),
    epoch: Instant,
) -> Result<(), TestCaseError> {
    let now = epoch + Duration::from_millis(model.now);
    match act {
        Act::Wait { millis } => model.wait(millis),
        Act::Acquire => {
            let ticket = machine.acquire(now);
            prop_assert_eq!(ticket.is_ok(), model.may_call(number));
            let call = Call { number, phase: model.phase };
            pending.extend(ticket.ok().map(|ticket| (ticket, call)));
        }
        Act::Answer { nth, took } if nth < pending.len() => {
            let (ticket, call) = pending.remove(nth);
            machine.record(ticket, Verdict::Answered, Duration::from_millis(took), 0, now);
            model.end(call, Verdict::Answered, took, 0);
        }
        Act::Fail { nth, took, retry_after, jitter } if nth < pending.len() => {
            let (ticket, call) = pending.remove(nth);
            let outage = Verdict::Outage { retry_after: retry_after.map(Duration::from_secs) };
            machine.record(ticket, outage, Duration::from_millis(took), jitter, now);
            model.end(call, outage, took, jitter);
        }
        Act::Drop { nth } if nth < pending.len() => {
            let (ticket, call) = pending.remove(nth);
            machine.cancel(ticket);
            model.give_up(call);
        }
        Act::Force { to, millis } => {
            machine.force(to, now + Duration::from_millis(millis), now);
            model.hold(Some((to, model.now + millis)));
        }
        Act::LetGo => {
            machine.let_go(now);
            model.hold(None);
        }
        Act::Reset => {
            machine.reset(now);
            model.begin_anew();
        }
        Act::Answer { .. } | Act::Fail { .. } | Act::Drop { .. } | Act::Look => (),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_machine_does_what_the_model_does(
        acts in acts(),
        most in prop_oneof![2 => Just(0_u32), 1 => 6_u32..12],
    ) {
        let epoch = Clock::default().monotonic();
        let mut machine = Machine::new(BreakerConfig { window_calls: most, ..RULES }, epoch);
        let most = (most > 0).then_some(most as usize);
        let mut model = Model { most, ..Model::default() };
        let mut pending = Vec::new();
        let mut last_state = State::Closed;

        for step in acts.into_iter().enumerate() {
            act((&mut machine, &mut model), &mut pending, step, epoch)?;

            let now = epoch + Duration::from_millis(model.now);
            let view = machine.view(now);
            prop_assert_eq!(view.state, model.state());
            prop_assert_eq!(view.is_forced, model.held.is_some());
            prop_assert_eq!(view.failures, model.failed_in_a_row);
            let (calls, failed, slow) = model.tally();
            let seen = (view.tally.calls as usize, view.tally.failures as usize, view.tally.slow as usize);
            prop_assert_eq!(seen, (calls, failed, slow));
            let until = model.shut.as_ref().map(|shut| shut.until);
            let until = until.filter(|_| view.state == State::Open && !view.is_forced);
            prop_assert_eq!(view.retry, until.map(|until| epoch + Duration::from_millis(until)));
            let is_open_to_all = model.held.is_none() && model.shut.is_none();
            prop_assert_eq!(machine.ticket_for_all().is_some(), is_open_to_all);

            for moved in machine.take_moves() {
                prop_assert_eq!(moved.from, last_state);
                prop_assert_ne!(moved.from, moved.to);
                prop_assert!(moved.at <= now);
                last_state = moved.to;
            }
            prop_assert_eq!(last_state, view.state);
        }
    }
}
