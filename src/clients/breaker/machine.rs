//! The state machine of a circuit breaker: pure, told the time, without a lock and without I/O.

use std::time::{Duration, Instant};

use super::window::{Tally, Window};
use crate::config::BreakerConfig;
use crate::domain::breaker::Force;

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
    /// An operator holds it open.
    ForcedOpen,
    /// An operator holds it closed.
    ForcedClosed,
    /// The time of an operator's override is over.
    OverrideEnded,
    /// An operator let it begin anew.
    Reset,
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
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
            Self::OverrideEnded => "override_ended",
            Self::Reset => "reset",
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
    /// Probes that failed in a row by then.
    pub failed_probes: u32,
}

/// How a call went, as far as the breaker cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The service answered, be it with a refusal.
    Answered,
    /// The service failed, and may have said how long it wants to be left alone.
    Outage { retry_after: Option<Duration> },
}

impl Verdict {
    /// How long the service wants to be left alone.
    fn asked_for(self) -> Option<Duration> {
        match self {
            Self::Answered => None,
            Self::Outage { retry_after } => retry_after,
        }
    }
}

/// Permission for one call. It is worthless once the breaker has moved on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ticket {
    /// Never zero.
    pub generation: u64,
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
    /// When the cool-down ends, while it is open by itself.
    pub retry: Option<Instant>,
    /// Whether an operator holds it.
    pub is_forced: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open { retry: Instant },
    HalfOpen { probe: Option<Probe> },
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    /// From then on the probe is given up and the next one may go.
    lease_end: Instant,
}

/// What an operator said, which stands above the phase until it ends.
#[derive(Clone, Copy, Debug)]
struct Override {
    to: Force,
    until: Instant,
}

/// Decides which calls are made, and learns from how they went.
#[derive(Debug)]
pub(super) struct Machine {
    rules: BreakerConfig,
    phase: Phase,
    forced: Option<Override>,
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
            forced: None,
            generation: 1,
            window: Window::new(Duration::from_secs(rules.window_secs), rules.window_calls, now),
            failures: 0,
            failed_probes: 0,
            moves: Vec::new(),
        }
    }

    /// Asks to make one call now.
    pub fn acquire(&mut self, now: Instant) -> Result<Ticket, Rejected> {
        self.catch_up(now);
        match self.forced {
            Some(Override { to: Force::Closed, .. }) => {
                return Ok(Ticket { generation: self.generation });
            }
            Some(Override { to: Force::Open, until }) => {
                // An operator may end it at any time, so it is worth asking before it ends by itself.
                let left = until.saturating_duration_since(now);
                return Err(Rejected { retry_after: left.min(self.first_cooldown()) });
            }
            None => (),
        }
        match &mut self.phase {
            Phase::Closed => Ok(Ticket { generation: self.generation }),
            Phase::Open { retry } => {
                Err(Rejected { retry_after: retry.saturating_duration_since(now) })
            }
            Phase::HalfOpen { probe: Some(probe) } if now < probe.lease_end => {
                Err(Rejected { retry_after: PROBE_PATIENCE })
            }
            Phase::HalfOpen { probe } => {
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
        if self.forced.is_some() {
            // It is told what to do; what it sees meanwhile counts once it may decide again.
            self.count(verdict, is_slow, now);
            return;
        }
        match self.phase {
            Phase::Closed => {
                let tally = self.count(verdict, is_slow, now);
                if let Some(cause) = self.reason_to_open(tally) {
                    self.open(cause, self.first_cooldown(), verdict.asked_for(), now);
                }
            }
            Phase::HalfOpen { .. } => match verdict {
                Verdict::Outage { .. } => {
                    self.failures = self.failures.saturating_add(1);
                    self.reopen(Cause::ProbeFailed, verdict, jitter, now);
                }
                Verdict::Answered if is_slow => {
                    self.reopen(Cause::ProbeSlow, verdict, jitter, now);
                }
                Verdict::Answered => self.begin_anew(Cause::ProbeSucceeded, now),
            },
            // Opening made every ticket worthless, so this one cannot be current.
            Phase::Open { .. } => (),
        }
    }

    /// Takes back a ticket whose call was given up without an answer; nothing is learnt from it.
    pub fn cancel(&mut self, ticket: Ticket) {
        if ticket.generation == self.generation
            && let Phase::HalfOpen { probe } = &mut self.phase
        {
            *probe = None;
        }
    }

    /// Holds it at `to` until then, whatever it sees; afterwards it goes on from where it was.
    pub fn force(&mut self, to: Force, until: Instant, now: Instant) {
        self.catch_up(now);
        let from = self.state();
        if let Phase::HalfOpen { probe } = &mut self.phase {
            // Its answer comes too late to count.
            *probe = None;
        }
        self.forced = Some(Override { to, until });
        let cause = match to {
            Force::Open => Cause::ForcedOpen,
            Force::Closed => Cause::ForcedClosed,
        };
        self.note(from, cause, now);
    }

    /// Lets it decide by itself again.
    pub fn let_go(&mut self, now: Instant) {
        self.catch_up(now);
        self.cool_down(now);
        self.end_override(now);
    }

    /// Closes it, and forgets all that it has seen and was told.
    pub fn reset(&mut self, now: Instant) {
        self.catch_up(now);
        self.begin_anew(Cause::Reset, now);
    }

    /// The ticket that everybody gets, if no passing of time can change that: it is closed, and nobody
    /// holds it.
    pub fn ticket_for_all(&self) -> Option<Ticket> {
        let is_closed = matches!(self.phase, Phase::Closed) && self.forced.is_none();
        is_closed.then_some(Ticket { generation: self.generation })
    }

    /// What the breaker looks like now.
    pub fn view(&mut self, now: Instant) -> View {
        self.catch_up(now);
        let is_forced = self.forced.is_some();
        let retry = match self.phase {
            Phase::Open { retry } if !is_forced => Some(retry),
            Phase::Closed | Phase::Open { .. } | Phase::HalfOpen { .. } => None,
        };
        let tally = self.window.tally(now);
        View { state: self.state(), failures: self.failures, tally, retry, is_forced }
    }

    /// The changes of state since this was last asked.
    pub fn take_moves(&mut self) -> Vec<Move> {
        std::mem::take(&mut self.moves)
    }

    fn state(&self) -> State {
        match (self.forced, self.phase) {
            (Some(Override { to: Force::Open, .. }), _) | (None, Phase::Open { .. }) => State::Open,
            (Some(Override { to: Force::Closed, .. }), _) | (None, Phase::Closed) => State::Closed,
            (None, Phase::HalfOpen { .. }) => State::HalfOpen,
        }
    }

    /// Does what only the passing of time does: ends overrides and cool-downs.
    fn catch_up(&mut self, now: Instant) {
        if let Some(Override { until, .. }) = self.forced {
            if now < until {
                return;
            }
            // A cool-down that ended under the override ended unseen.
            self.cool_down(until);
            self.end_override(until);
        }
        self.cool_down(now);
    }

    fn end_override(&mut self, at: Instant) {
        let from = self.state();
        if self.forced.take().is_some() {
            self.note(from, Cause::OverrideEnded, at);
        }
    }

    fn cool_down(&mut self, now: Instant) {
        if let Phase::Open { retry } = self.phase
            && retry <= now
        {
            self.go(Phase::HalfOpen { probe: None }, Cause::CooldownOver, retry);
        }
    }

    fn count(&mut self, verdict: Verdict, is_slow: bool, now: Instant) -> Tally {
        let is_failure = matches!(verdict, Verdict::Outage { .. });
        self.failures = if is_failure { self.failures.saturating_add(1) } else { 0 };
        let call = Tally { calls: 1, failures: is_failure.into(), slow: is_slow.into() };
        self.window.add(call, now)
    }

    fn reason_to_open(&self, tally: Tally) -> Option<Cause> {
        if self.failures >= self.rules.consecutive_failures.max(1) {
            return Some(Cause::ConsecutiveFailures);
        }
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
        self.go(Phase::Open { retry: now + wait }, cause, now);
    }

    /// Opens again after a probe; each time for up to twice as long, never for less than the first
    /// time.
    fn reopen(&mut self, cause: Cause, verdict: Verdict, jitter: u32, now: Instant) {
        self.failed_probes = self.failed_probes.saturating_add(1);
        let first = self.first_cooldown();
        let longest = Duration::from_secs(self.rules.max_cooldown_secs).max(first);
        let factor = 1_u32.checked_shl(self.failed_probes).unwrap_or(u32::MAX);
        let whole = first.saturating_mul(factor).min(longest);
        let jittered = whole / 2 + whole / 2 * jitter.min(FULL_JITTER) / FULL_JITTER;
        self.open(cause, jittered.max(first), verdict.asked_for(), now);
    }

    fn first_cooldown(&self) -> Duration {
        Duration::from_secs(self.rules.cooldown_secs)
    }

    fn begin_anew(&mut self, cause: Cause, now: Instant) {
        let from = self.state();
        self.failures = 0;
        self.failed_probes = 0;
        self.window.clear();
        self.forced = None;
        self.phase = Phase::Closed;
        self.note(from, cause, now);
    }

    fn go(&mut self, phase: Phase, cause: Cause, at: Instant) {
        let from = self.state();
        self.phase = phase;
        self.note(from, cause, at);
    }

    /// Makes the tickets so far worthless, and remembers the change if it can be seen.
    fn note(&mut self, from: State, cause: Cause, at: Instant) {
        self.generation += 1;
        let (to, failed_probes) = (self.state(), self.failed_probes);
        if from != to {
            self.moves.push(Move { at, from, to, cause, failed_probes });
        }
    }
}

/// Whether `part` is at least `percent` of `whole`.
fn is_share(part: u32, whole: u32, percent: u32) -> bool {
    u64::from(part) * 100 >= u64::from(whole) * u64::from(percent)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod overrides;

#[cfg(test)]
mod model;
