//! The state machine of a circuit breaker: pure, told the time, without a lock and without I/O.

use std::time::{Duration, Instant};

use super::window::{Tally, Window};
use crate::config::BreakerConfig;

/// While a probe is under way its answer is near; a caller may ask again after this long.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// The jitter that gives the longest cool-down.
pub(super) const FULL_JITTER: u32 = 1000;

/// What a breaker does with calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// It lets them through.
    Closed,
    /// It rejects them.
    Open,
    /// It lets one through at a time, to see.
    HalfOpen,
}

impl State {
    /// The name on the wire and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Why a breaker changed its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// Too many failures in a row.
    ConsecutiveFailures,
    /// Too large a share of failures in the window.
    FailureRate,
    /// Too large a share of slow calls in the window.
    SlowRate,
    /// The cool-down ended.
    CooldownOver,
    /// The probe came back well and in time.
    ProbeSucceeded,
    /// The probe met an outage.
    ProbeFailed,
    /// The probe came back too late.
    ProbeSlow,
}

impl Cause {
    /// The name on the wire and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::FailureRate => "failure_rate",
            Self::SlowRate => "slow_rate",
            Self::CooldownOver => "cooldown_over",
            Self::ProbeSucceeded => "probe_succeeded",
            Self::ProbeFailed => "probe_failed",
            Self::ProbeSlow => "probe_slow",
        }
    }
}

/// One change of state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Move {
    pub at: Instant,
    pub from: State,
    pub to: State,
    pub cause: Cause,
}

/// How a call went, as far as the breaker cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The service answered, be it with a refusal.
    Answered,
    /// The service failed, and may have said how long it wants to be left alone.
    Outage { retry_after: Option<Duration> },
}

/// Permission for one call. It is worthless once the breaker has moved on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ticket {
    generation: u64,
}

/// No permission; it may be worth asking again after `retry_after`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rejected {
    pub retry_after: Duration,
}

/// What can be seen from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct View {
    pub state: State,
    /// Failures since the last good answer.
    pub failures: u32,
    pub tally: Tally,
    /// When it last opened, until it is closed again.
    pub opened: Option<Instant>,
    /// When the cool-down ends, while it is open.
    pub retry: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open { opened: Instant, retry: Instant },
    HalfOpen { opened: Instant, probe: Option<Probe> },
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    /// From then on the probe is given up and the next one may go.
    lease_end: Instant,
}

/// Decides which calls are made, and learns from how they went.
#[derive(Debug)]
pub(super) struct Machine {
    rules: BreakerConfig,
    phase: Phase,
    /// Grows with every change of state and every probe, so that an answer tells what it answers.
    generation: u64,
    window: Window,
    failures: u32,
    failed_probes: u32,
    moves: Vec<Move>,
}

impl Machine {
    /// A closed breaker that has seen nothing.
    pub fn new(rules: BreakerConfig, now: Instant) -> Self {
        Self {
            rules,
            phase: Phase::Closed,
            generation: 0,
            window: Window::new(Duration::from_secs(rules.window_secs), now),
            failures: 0,
            failed_probes: 0,
            moves: Vec::new(),
        }
    }

    /// Asks to make one call now.
    pub fn acquire(&mut self, now: Instant) -> Result<Ticket, Rejected> {
        self.catch_up(now);
        match &mut self.phase {
            Phase::Closed => Ok(Ticket { generation: self.generation }),
            Phase::Open { retry, .. } => {
                Err(Rejected { retry_after: retry.saturating_duration_since(now) })
            }
            Phase::HalfOpen { probe: Some(probe), .. } if now < probe.lease_end => {
                Err(Rejected { retry_after: PROBE_PATIENCE })
            }
            Phase::HalfOpen { probe, .. } => {
                let lease = Duration::from_secs(self.rules.probe_lease_secs);
                *probe = Some(Probe { lease_end: now + lease });
                self.generation += 1;
                Ok(Ticket { generation: self.generation })
            }
        }
    }

    /// Learns how a call went that took `took` and ended now. `jitter` (0 to [`FULL_JITTER`]) says
    /// how much of the upper half of a grown cool-down is used.
    pub fn record(
        &mut self,
        ticket: Ticket,
        verdict: Verdict,
        took: Duration,
        jitter: u32,
        now: Instant,
    ) {
        self.catch_up(now);
        if ticket.generation != self.generation {
            return;
        }
        let is_slow = took > Duration::from_millis(self.rules.slow_call_ms);
        match self.phase {
            Phase::Closed => self.learn(verdict, is_slow, now),
            Phase::HalfOpen { .. } => match verdict {
                Verdict::Outage { retry_after } => {
                    self.failures = self.failures.saturating_add(1);
                    self.reopen(Cause::ProbeFailed, retry_after, jitter, now);
                }
                Verdict::Answered if is_slow => {
                    self.reopen(Cause::ProbeSlow, None, jitter, now);
                }
                Verdict::Answered => self.close(now),
            },
            // Opening made every ticket worthless, so this one cannot be current.
            Phase::Open { .. } => (),
        }
    }

    /// Takes back a ticket whose call was given up without an answer; nothing is learnt from it.
    pub fn cancel(&mut self, ticket: Ticket) {
        if ticket.generation == self.generation
            && let Phase::HalfOpen { probe, .. } = &mut self.phase
        {
            *probe = None;
        }
    }

    /// What the breaker looks like now.
    pub fn view(&mut self, now: Instant) -> View {
        self.catch_up(now);
        let (opened, retry) = match self.phase {
            Phase::Closed => (None, None),
            Phase::Open { opened, retry } => (Some(opened), Some(retry)),
            Phase::HalfOpen { opened, .. } => (Some(opened), None),
        };
        let tally = self.window.tally(now);
        View { state: self.state(), failures: self.failures, tally, opened, retry }
    }

    /// The changes of state since this was last asked.
    pub fn take_moves(&mut self) -> Vec<Move> {
        std::mem::take(&mut self.moves)
    }

    fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Does what only the passing of time does: ends the cool-down.
    fn catch_up(&mut self, now: Instant) {
        if let Phase::Open { opened, retry } = self.phase
            && retry <= now
        {
            self.go(Phase::HalfOpen { opened, probe: None }, Cause::CooldownOver, retry);
        }
    }

    fn learn(&mut self, verdict: Verdict, is_slow: bool, now: Instant) {
        let retry_after = match verdict {
            Verdict::Answered => {
                self.failures = 0;
                None
            }
            Verdict::Outage { retry_after } => {
                self.failures = self.failures.saturating_add(1);
                retry_after
            }
        };
        let is_failure = matches!(verdict, Verdict::Outage { .. });
        let call = Tally { calls: 1, failures: is_failure.into(), slow: is_slow.into() };
        self.window.add(call, now);
        if let Some(cause) = self.reason_to_open(now) {
            let cooldown = Duration::from_secs(self.rules.cooldown_secs);
            self.open(cause, cooldown, retry_after, now);
        }
    }

    fn reason_to_open(&mut self, now: Instant) -> Option<Cause> {
        if self.failures >= self.rules.consecutive_failures.max(1) {
            return Some(Cause::ConsecutiveFailures);
        }
        let tally = self.window.tally(now);
        if tally.calls < self.rules.minimum_calls {
            return None;
        }
        if is_share(tally.failures, tally.calls, self.rules.failure_percent) {
            return Some(Cause::FailureRate);
        }
        is_share(tally.slow, tally.calls, self.rules.slow_percent).then_some(Cause::SlowRate)
    }

    fn open(&mut self, cause: Cause, wait: Duration, asked_for: Option<Duration>, now: Instant) {
        let longest = Duration::from_secs(self.rules.max_cooldown_secs);
        let wait = wait.max(asked_for.unwrap_or_default().min(longest));
        self.go(Phase::Open { opened: now, retry: now + wait }, cause, now);
    }

    /// Opens again after a probe; each time for up to twice as long, never for less than the first
    /// time.
    fn reopen(&mut self, cause: Cause, asked_for: Option<Duration>, jitter: u32, now: Instant) {
        self.failed_probes = self.failed_probes.saturating_add(1);
        let first = Duration::from_secs(self.rules.cooldown_secs);
        let longest = Duration::from_secs(self.rules.max_cooldown_secs).max(first);
        let factor = 1_u32.checked_shl(self.failed_probes).unwrap_or(u32::MAX);
        let whole = first.saturating_mul(factor).min(longest);
        let jittered = whole / 2 + whole / 2 * jitter.min(FULL_JITTER) / FULL_JITTER;
        self.open(cause, jittered.max(first), asked_for, now);
    }

    fn close(&mut self, now: Instant) {
        self.failures = 0;
        self.failed_probes = 0;
        self.window.clear();
        self.go(Phase::Closed, Cause::ProbeSucceeded, now);
    }

    fn go(&mut self, phase: Phase, cause: Cause, at: Instant) {
        let from = self.state();
        self.phase = phase;
        self.generation += 1;
        self.moves.push(Move { at, from, to: self.state(), cause });
    }
}

/// Whether `part` is at least `percent` of `whole`.
fn is_share(part: u32, whole: u32, percent: u32) -> bool {
    u64::from(part) * 100 >= u64::from(whole) * u64::from(percent)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod model;
