//! The machine against a plain model of the rules, under random interleavings of calls, answers,
//! drops and steps of time.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::clock::Clock;

/// Small numbers, so that random steps reach every corner often.
const RULES: BreakerConfig = BreakerConfig {
    consecutive_failures: 3,
    window_secs: 60,
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
        1 => Just(Act::Look),
    ];
    vec(act, 1..300)
}

/// The rules once more, in milliseconds and with whole lists where the machine has counters.
#[derive(Default)]
struct Model {
    now: u64,
    /// Ends of the phases so far; its length names the phase.
    phase: usize,
    shut: Option<Shut>,
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
    fn state(&self) -> State {
        match &self.shut {
            None => State::Closed,
            Some(shut) if self.now < shut.until => State::Open,
            Some(_) => State::HalfOpen,
        }
    }

    fn may_call(&mut self, number: usize) -> bool {
        let (state, now) = (self.state(), self.now);
        let Some(shut) = &mut self.shut else { return true };
        let is_taken = shut.probe.is_some_and(|(_, until)| now < until);
        if state == State::Open || is_taken {
            return false;
        }
        shut.probe = Some((number, now + 30_000));
        true
    }

    fn counts(&self, call: Call) -> bool {
        match &self.shut {
            None => call.phase == self.phase,
            Some(shut) => shut.probe.is_some_and(|(number, _)| number == call.number),
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
        if let Some(shut) = &mut self.shut {
            shut.probe = None;
            if !failed && !is_slow {
                self.shut = None;
                self.phase += 1;
                self.calls.clear();
                self.failed_in_a_row = 0;
                return;
            }
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
        if self.should_open() {
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
        let recent: Vec<_> = self.calls.iter().filter(|(at, ..)| recent(*at)).collect();
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_machine_does_what_the_model_does(acts in acts()) {
        let epoch = Clock::default().monotonic();
        let mut machine = Machine::new(RULES, epoch);
        let mut model = Model::default();
        let mut open_calls: Vec<(Ticket, Call)> = Vec::new();
        let mut last_state = State::Closed;

        for (number, act) in acts.into_iter().enumerate() {
            let now = epoch + Duration::from_millis(model.now);
            match act {
                Act::Wait { millis } => model.now += millis,
                Act::Acquire => {
                    let ticket = machine.acquire(now);
                    prop_assert_eq!(ticket.is_ok(), model.may_call(number));
                    if let Ok(ticket) = ticket {
                        open_calls.push((ticket, Call { number, phase: model.phase }));
                    }
                }
                Act::Answer { nth, took } if nth < open_calls.len() => {
                    let (ticket, call) = open_calls.remove(nth);
                    machine.record(ticket, Verdict::Answered, Duration::from_millis(took), 0, now);
                    model.end(call, Verdict::Answered, took, 0);
                }
                Act::Fail { nth, took, retry_after, jitter } if nth < open_calls.len() => {
                    let (ticket, call) = open_calls.remove(nth);
                    let outage =
                        Verdict::Outage { retry_after: retry_after.map(Duration::from_secs) };
                    machine.record(ticket, outage, Duration::from_millis(took), jitter, now);
                    model.end(call, outage, took, jitter);
                }
                Act::Drop { nth } if nth < open_calls.len() => {
                    let (ticket, call) = open_calls.remove(nth);
                    machine.cancel(ticket);
                    model.give_up(call);
                }
                Act::Answer { .. } | Act::Fail { .. } | Act::Drop { .. } | Act::Look => (),
            }

            let now = epoch + Duration::from_millis(model.now);
            let view = machine.view(now);
            prop_assert_eq!(view.state, model.state());
            prop_assert_eq!(view.failures, model.failed_in_a_row);
            let (calls, failed, slow) = model.tally();
            let seen = (view.tally.calls as usize, view.tally.failures as usize, view.tally.slow as usize);
            prop_assert_eq!(seen, (calls, failed, slow));
            let until = model.shut.as_ref().map(|shut| shut.until).filter(|_| view.state == State::Open);
            prop_assert_eq!(view.retry, until.map(|until| epoch + Duration::from_millis(until)));

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
