//! A circuit breaker: stop calling a service that keeps failing, then let one probe through.
//!
//! [`machine`] decides, [`window`] counts; here are the lock, the clock, what is remembered for
//! people, and the metrics.

mod machine;
mod window;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

pub(crate) use self::machine::{Cause, State};
pub(crate) use self::window::Tally;

use self::machine::{FULL_JITTER, Machine, Move, Ticket, Verdict};
use crate::clients::ClientError;
use crate::clock::Clock;
use crate::config::BreakerConfig;
use crate::domain::breaker::{Forced, Orders};

/// How many changes of state are remembered.
const REMEMBERED: usize = 20;

/// After so many failed probes in a row a person should look; that is five to nine minutes after it
/// opened.
const STUBBORN: u32 = 3;

/// An override never lasts longer here, whatever stands in the table.
const LONGEST_OVERRIDE: Duration = Duration::from_hours(24);

/// Guards the calls to one external service.
#[derive(Debug)]
pub(crate) struct Breaker {
    name: &'static str,
    rules: BreakerConfig,
    clock: Clock,
    is_passive: bool,
    /// The generation of [`Machine::ticket_for_all`], or zero. While it is closed, callers need not
    /// wait for the lock.
    open_door: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    machine: Machine,
    /// What operators said, once that is known.
    orders: Option<Orders>,
    transitions: VecDeque<Transition>,
    /// When it last opened, on both hands of the clock.
    last_opening: Option<(Instant, DateTime<Utc>)>,
    last_call: Option<(Instant, LastCall)>,
    last_outage: Option<String>,
}

/// One change of state, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Transition {
    pub at: DateTime<Utc>,
    pub from: State,
    pub to: State,
    pub cause: Cause,
    /// Probes that had failed in a row by then.
    pub failed_probes: u32,
}

/// How the last call that ended went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LastCall {
    /// How long ago it ended.
    pub age: Duration,
    /// How long it took.
    pub took: Duration,
    /// [`ClientError::class`] of its error, a refusal included.
    pub error: Option<&'static str>,
}

/// What can be seen of a breaker at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Snapshot {
    pub name: &'static str,
    pub state: State,
    /// Failures since the last good answer.
    pub failure_count: u32,
    /// The failures in a row that open it.
    pub failure_threshold: u32,
    /// The first cool-down.
    pub recovery_timeout: Duration,
    /// The calls in the window.
    pub window: Tally,
    /// When it last opened, until it is closed again.
    pub opened_at: Option<DateTime<Utc>>,
    /// When it may be tried again, while it is open.
    pub retry_at: Option<DateTime<Utc>>,
    /// What an operator holds it at.
    pub forced: Option<Forced>,
    /// The last outage, in words without anything the service said.
    pub last_error: Option<String>,
    /// The last changes of state, oldest first.
    pub transitions: Vec<Transition>,
    /// The last call that ended.
    pub last_call: Option<LastCall>,
}

/// Permission for one call. Report how it went; a permit that is dropped without a word counts as
/// a call that never was.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    ticket: Ticket,
    began: Instant,
    is_settled: bool,
}

impl Breaker {
    /// A closed breaker for the named service. A passive one lets nothing through, ever.
    pub fn new(name: &'static str, rules: BreakerConfig, clock: Clock, is_passive: bool) -> Self {
        let machine = Machine::new(rules, clock.monotonic());
        let inner = Mutex::new(Inner {
            machine,
            orders: None,
            transitions: VecDeque::with_capacity(REMEMBERED),
            last_opening: None,
            last_call: None,
            last_outage: None,
        });
        let open_door = AtomicU64::default();
        let breaker = Self { name, rules, clock, is_passive, open_door, inner };
        breaker.tell(|_, _| ());
        breaker.show(State::Closed);
        breaker
    }

    /// The service it guards.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Makes the call unless the breaker is open, and learns from its outcome.
    pub async fn call<T>(
        &self,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let permit = self.acquire()?;
        let result = request.await;
        permit.record(result.as_ref().err());
        result
    }

    /// Makes the call only while the breaker is closed, and learns nothing from it.
    pub async fn call_uncounted<T>(
        &self,
        request: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        match self.refusal() {
            Some(refusal) => Err(refusal),
            None => request.await,
        }
    }

    /// What a call that may not be a probe would be refused with. Takes no permit.
    pub fn refusal(&self) -> Option<ClientError> {
        if self.is_passive {
            return Some(ClientError::Passive { client: self.name });
        }
        let Snapshot { state, retry_at, .. } = self.snapshot();
        match state {
            State::Closed => None,
            State::Open | State::HalfOpen => {
                let wait = retry_at.map(|retry_at| retry_at - self.clock.now());
                let retry_after = wait.and_then(|wait| wait.to_std().ok()).unwrap_or_default();
                Some(ClientError::BreakerOpen { client: self.name, retry_after })
            }
        }
    }

    /// Asks to make one call.
    pub fn acquire(&self) -> Result<Permit<'_>, ClientError> {
        if self.is_passive {
            return Err(ClientError::Passive { client: self.name });
        }
        let generation = self.open_door.load(Ordering::Acquire);
        if generation != 0 {
            let (ticket, began) = (Ticket { generation }, self.clock.monotonic());
            return Ok(Permit { breaker: self, ticket, began, is_settled: false });
        }
        let (began, answer) = self.tell(|inner, now| (now, inner.machine.acquire(now)));
        match answer {
            Ok(ticket) => Ok(Permit { breaker: self, ticket, began, is_settled: false }),
            Err(rejected) => {
                metrics::counter!("dealix_breaker_rejected_total", "breaker" => self.name)
                    .increment(1);
                let retry_after = rejected.retry_after;
                Err(ClientError::BreakerOpen { client: self.name, retry_after })
            }
        }
    }

    /// Does what operators said, unless it has heard something newer.
    pub fn follow(&self, orders: &Orders) {
        self.tell(|inner, now| {
            let heard = inner.orders.replace(*orders);
            if let Some(heard) = heard.filter(|heard| heard.version >= orders.version) {
                inner.orders = Some(heard);
                return;
            }
            // What it was told before it began is no reason to begin anew.
            if heard.is_some_and(|heard| heard.resets < orders.resets) {
                inner.machine.reset(now);
            }
            match orders.forced.and_then(|forced| Some((forced.to, self.left(forced)?))) {
                Some((to, left)) => inner.machine.force(to, now + left, now),
                None => inner.machine.let_go(now),
            }
        });
    }

    /// How long an override lasts from now on; none if it is over.
    fn left(&self, forced: Forced) -> Option<Duration> {
        let left = (forced.until - self.clock.now()).to_std().ok()?;
        Some(left.min(LONGEST_OVERRIDE)).filter(|left| !left.is_zero())
    }

    /// Everything there is to see. Takes no permit.
    pub fn snapshot(&self) -> Snapshot {
        let mut inner = self.lock();
        let now = self.clock.monotonic();
        let view = inner.machine.view(now);
        let news = self.take_news(&mut inner, now);
        let last_opening = inner.last_opening.filter(|_| view.state != State::Closed);
        let retry_at = last_opening.zip(view.retry);
        let retry_at = retry_at.map(|((opened, at), retry)| at + (retry - opened));
        let forced = inner.orders.and_then(|orders| orders.forced).filter(|_| view.is_forced);
        let end_of_override = forced.filter(|_| view.state == State::Open);
        let snapshot = Snapshot {
            name: self.name,
            state: view.state,
            failure_count: view.failures,
            failure_threshold: self.rules.consecutive_failures,
            recovery_timeout: Duration::from_secs(self.rules.cooldown_secs),
            window: view.tally,
            opened_at: last_opening.map(|(_, at)| at),
            retry_at: retry_at.or(end_of_override.map(|forced| forced.until)),
            forced,
            last_error: inner.last_outage.clone(),
            transitions: inner.transitions.iter().copied().collect(),
            last_call: inner
                .last_call
                .map(|(at, call)| LastCall { age: now.saturating_duration_since(at), ..call }),
        };
        drop(inner);
        self.announce(&news);
        self.show(snapshot.state);
        snapshot
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one thing under the lock, then tells the world which changes of state it caused.
    fn tell<T>(&self, act: impl FnOnce(&mut Inner, Instant) -> T) -> T {
        let mut inner = self.lock();
        // Read under the lock, so that time never goes back for the machine.
        let now = self.clock.monotonic();
        let result = act(&mut inner, now);
        let news = self.take_news(&mut inner, now);
        drop(inner);
        self.announce(&news);
        result
    }

    /// The changes of state that nobody was told of yet, remembered.
    fn take_news(&self, inner: &mut Inner, now: Instant) -> Vec<Transition> {
        let ticket = inner.machine.ticket_for_all();
        let generation = ticket.map_or(0, |ticket| ticket.generation);
        // Written only when it changes: it is what all callers read.
        if self.open_door.load(Ordering::Relaxed) != generation {
            self.open_door.store(generation, Ordering::Release);
        }
        let moves = inner.machine.take_moves().into_iter();
        moves.map(|moved| inner.remember(moved, &self.clock, now)).collect()
    }

    fn announce(&self, news: &[Transition]) {
        for Transition { from, to, cause, failed_probes, .. } in news {
            let (name, from, cause) = (self.name, from.name(), cause.name());
            self.show(*to);
            let labels = [("breaker", name), ("to", to.name())];
            metrics::counter!("dealix_breaker_transitions_total", &labels).increment(1);
            match to {
                State::Open if *failed_probes == STUBBORN => tracing::error!(
                    breaker.name = name,
                    breaker.from = from,
                    breaker.cause = cause,
                    "The breaker of {name} stays open: {STUBBORN} probes in a row have failed"
                ),
                State::Open => tracing::warn!(
                    breaker.name = name,
                    breaker.from = from,
                    breaker.cause = cause,
                    "Opened the breaker of {name}: {cause}"
                ),
                State::HalfOpen | State::Closed => tracing::info!(
                    breaker.name = name,
                    breaker.from = from,
                    breaker.cause = cause,
                    "The breaker of {name} is {}: {cause}",
                    to.name()
                ),
            }
        }
    }

    /// Sets the gauge: 0 closed, 1 half open, 2 open.
    fn show(&self, state: State) {
        let value = match state {
            State::Closed => 0.0,
            State::HalfOpen => 1.0,
            State::Open => 2.0,
        };
        metrics::gauge!("dealix_breaker_state", "breaker" => self.name).set(value);
    }
}

impl Inner {
    /// Dates a change of state; the machine knows only how long ago it was.
    fn remember(&mut self, moved: Move, clock: &Clock, now: Instant) -> Transition {
        let Move { from, to, cause, failed_probes, .. } = moved;
        let at = clock.now() - now.saturating_duration_since(moved.at);
        if to == State::Open {
            self.last_opening = Some((moved.at, at));
        }
        if self.transitions.len() == REMEMBERED {
            self.transitions.pop_front();
        }
        let transition = Transition { at, from, to, cause, failed_probes };
        self.transitions.push_back(transition);
        transition
    }
}

impl Permit<'_> {
    /// Reports how the call went: its error, if it had one.
    pub fn record(mut self, error: Option<&ClientError>) {
        self.is_settled = true;
        let outage = error.filter(|error| error.is_outage());
        let words = outage.map(|outage| format!("{}: {outage}", outage.class()));
        let verdict = outage.map_or(Verdict::Answered, |outage| Verdict::Outage {
            retry_after: outage.retry_after(),
        });
        let jitter = outage.map_or(0, |_| fastrand::u32(0..=FULL_JITTER));
        self.breaker.tell(|inner, now| {
            let took = now.saturating_duration_since(self.began);
            let last_call =
                LastCall { age: Duration::ZERO, took, error: error.map(ClientError::class) };
            inner.last_call = Some((now, last_call));
            if words.is_some() {
                inner.last_outage = words;
            }
            inner.machine.record(self.ticket, verdict, took, jitter, now);
        });
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.breaker.lock().machine.cancel(self.ticket);
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod crowd;

#[cfg(test)]
mod complaints;
