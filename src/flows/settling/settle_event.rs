//! Settle a provider's event: ask the provider what its payment is now, and believe only that.
//!
//! Events are claimed with a lease in one statement, all that are due of one payment together. The
//! payment is fetched once, without any transaction, and everything that follows is written in a
//! second one that compares the lease.

use std::time::Duration;

use chrono::TimeDelta;
use sqlx::PgPool;
use uuid::Uuid;

use crate::clients::ClientError;
use crate::clients::moyasar::Moyasar;
use crate::clock::Clock;
use crate::db;
use crate::db::webhook_leases::{ClaimedEvent, Failure, Lease};
use crate::domain::funnel::Analytics;
use crate::faults;
use crate::flows::backoff::after;
use crate::flows::questions::Questions;
use crate::flows::settling::attempt::{Prepared, Unsettled, prepare, question};
use crate::flows::settling::company::Company;
use crate::tasks::guarded;
use crate::wake::Wake;

/// Waits after the first failures of an event; then it is given up.
const BACKOFF: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
];

/// How soon the provider is asked again when it did not answer.
const OUTAGE_PAUSE: Duration = Duration::from_secs(5);

/// Events of one payment that are settled together with the first.
const SIBLINGS: i64 = 100;

/// Processes that may end with an event in hand, all of them with nothing else to settle, before it is
/// given up. The one that ended before them may have died of another.
const DEATHS_ALONE: i32 = 3;

/// What settling events needs.
#[derive(Clone)]
pub struct SettleEvents {
    pub db: PgPool,
    pub moyasar: Moyasar,
    pub analytics: Analytics,
    /// How long an event belongs to whoever claimed it.
    pub lease: TimeDelta,
    /// This start of this process.
    pub process: Uuid,
    /// Who settles beside whom in this process.
    pub company: Company,
    pub clock: Clock,
    pub wake: Wake,
}

/// What became of an attempt to settle events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settling {
    /// They are settled.
    Settled,
    /// The provider is away: nobody's attempt, and the next event fares no better.
    Outage {
        /// A word for it.
        class: &'static str,
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// It failed of its own.
    Failed {
        /// A word for it.
        class: &'static str,
        /// What happened, in our own words.
        error: String,
    },
}

/// What became of an attempt to settle one given event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SettlingOne {
    /// Somebody has settled it before, or nothing was to be done about it.
    HasEnded,
    /// Somebody else has it in hand at this moment.
    IsInHand,
    /// It was tried now.
    Tried(Settling),
}

/// Events of one payment, and the right to settle them.
struct Claim {
    token: Uuid,
    events: Vec<ClaimedEvent>,
}

impl Claim {
    fn ids(&self) -> Vec<Uuid> {
        self.events.iter().map(|event| event.id).collect()
    }
}

impl SettleEvents {
    /// Settles the event that is due for longest, and all that are due of the same payment; nothing if
    /// none is.
    pub async fn settle_next(&self) -> sqlx::Result<Option<Settling>> {
        let _beside_others = self.company.join().await;
        let lease = self.new_lease();
        let claim = db::webhook_leases::claim(&self.db, &lease, SIBLINGS);
        let mut events = db::in_time(claim).await?;
        if events.is_empty() {
            return Ok(None);
        }
        faults::step("event_claimed");
        // Ids are made in the order of arrival.
        events.sort_by_key(|event| event.id);
        self.settle(Claim { token: lease.token, events }).await.map(Some)
    }

    /// Settles one event that a process has ended with, while this process settles nothing else.
    pub async fn settle_suspect(&self) -> sqlx::Result<Option<Settling>> {
        let (process, now) = (self.process, self.clock.now());
        if !db::in_time(db::webhook_leases::has_suspect(&self.db, process, now)).await? {
            return Ok(None);
        }
        let _alone = self.company.clear().await;
        let lease = self.new_lease();
        let claim = db::webhook_leases::claim_suspect(&self.db, &lease);
        let Some(event) = db::in_time(claim).await? else {
            return Ok(None);
        };
        faults::step("suspect_claimed");
        let deaths_alone = event.deaths.saturating_sub(1);
        let claim = Claim { token: lease.token, events: vec![event] };
        if deaths_alone >= DEATHS_ALONE {
            let poison = Unsettled::Poison(deaths_alone);
            return db::in_time(self.count_failure(&claim, &poison)).await.map(Some);
        }
        self.settle(claim).await.map(Some)
    }

    /// Settles that one event now, whether it is due or not, also when it was given up: for its replay
    /// from the queue. The caller decides by [`Self::company`] beside whom.
    pub async fn settle_one(&self, id: Uuid) -> sqlx::Result<SettlingOne> {
        let lease = self.new_lease();
        let claim = db::webhook_leases::claim_one(&self.db, id, &lease);
        let Some(event) = db::in_time(claim).await? else {
            let has_ended = db::in_time(db::webhook_leases::has_ended(&self.db, id)).await?;
            return Ok(if has_ended { SettlingOne::HasEnded } else { SettlingOne::IsInHand });
        };
        let claim = Claim { token: lease.token, events: vec![event] };
        self.settle(claim).await.map(SettlingOne::Tried)
    }

    fn new_lease(&self) -> Lease {
        let taken_at = self.clock.now();
        let (token, owner, until) = (Uuid::new_v4(), self.process, taken_at + self.lease);
        Lease { token, owner, taken_at, until }
    }

    /// Settles what was claimed or gives it back; whatever happens, it is not lost.
    async fn settle(&self, claim: Claim) -> sqlx::Result<Settling> {
        let settled = guarded(self.try_to_settle(&claim)).await;
        match settled.map_err(Unsettled::Panic).flatten() {
            Ok(()) => {
                self.wake.outbox.notify_one();
                Ok(Settling::Settled)
            }
            Err(Unsettled::Outage(error)) => self.wait_out(&claim, &error).await,
            Err(Unsettled::Storage(error)) if db::is_outage(&error) => {
                // If not even that can be written now, the lease ends by itself.
                drop(db::in_time(self.give_back(&claim, "storage", OUTAGE_PAUSE)).await);
                Err(error)
            }
            Err(error) => db::in_time(self.count_failure(&claim, &error)).await,
        }
    }

    async fn try_to_settle(&self, claim: &Claim) -> Result<(), Unsettled> {
        let payment_id = claim.events.first().and_then(|event| event.payment_id.as_deref());
        let prepared = prepare(&self.db, &self.moyasar, payment_id).await?;
        db::in_time(Box::pin(self.write(claim, &prepared))).await?;
        faults::step("settlement_saved");
        Ok(())
    }

    /// Everything that the payment brings about, and the end of its events, in one transaction.
    async fn write(&self, claim: &Claim, prepared: &Prepared) -> sqlx::Result<()> {
        let (ids, now) = (claim.ids(), self.clock.now());
        let mut tx = self.db.begin().await?;
        let settled = prepared.apply(&mut tx, &claim.events, self.analytics, now).await?;
        if db::webhook_leases::finish(&mut tx, &ids, claim.token, settled.outcome, now).await? {
            faults::step("settlement_unsaved");
            tx.commit().await?;
            settled.questions.announce(&self.wake);
        } else {
            tracing::warn!(events = ?ids, "Events were settled by somebody else meanwhile");
            tx.rollback().await?;
        }
        Ok(())
    }

    /// Gives the events back without counting an attempt, for as long as the provider asks for.
    async fn wait_out(&self, claim: &Claim, error: &ClientError) -> sqlx::Result<Settling> {
        let asked = error.retry_after().unwrap_or(OUTAGE_PAUSE);
        let retry_after = asked.max(Duration::from_secs(1));
        let class = error.class();
        faults::step("outage_met");
        db::in_time(self.give_back(claim, class, retry_after)).await?;
        faults::step("outage_noted");
        Ok(Settling::Outage { class, retry_after })
    }

    async fn give_back(&self, claim: &Claim, class: &str, pause: Duration) -> sqlx::Result<()> {
        let next = after(self.clock.now(), pause);
        db::webhook_leases::give_back(&self.db, &claim.ids(), claim.token, class, next).await
    }

    /// Counts a failed attempt of each; the last one gives an event up, and asks a person where nobody
    /// else can know more.
    async fn count_failure(&self, claim: &Claim, error: &Unsettled) -> sqlx::Result<Settling> {
        let (class, text) = (error.class(), error.to_string());
        let is_hopeless = matches!(error, Unsettled::Poison(_));
        let (mut questions, mut given_up) = (Questions::default(), Vec::new());
        let mut tx = self.db.begin().await?;
        for event in &claim.events {
            let attempts = event.attempts.saturating_add(1);
            let failure = Failure { class, text: &text, attempts };
            let pause = usize::try_from(event.attempts).ok().and_then(|tried| BACKOFF.get(tried));
            if let Some(pause) = pause.filter(|_| !is_hopeless) {
                let next = after(self.clock.now(), *pause);
                db::webhook_leases::release(&mut *tx, event.id, claim.token, failure, next).await?;
                continue;
            }
            if !db::webhook_leases::fail(&mut *tx, event.id, claim.token, failure).await? {
                tracing::warn!(event.id = %event.id, "An event that failed is somebody else's by now");
                continue;
            }
            if let Some(kind) = error.question() {
                questions.ask(&mut *tx, &question(event, kind, &text, self.clock.now())).await?;
            }
            given_up.push(event.id);
        }
        faults::step("failure_uncounted");
        tx.commit().await?;
        faults::step("failure_counted");
        questions.announce(&self.wake);
        if given_up.is_empty() {
            tracing::warn!(events = ?claim.ids(), class, error = text, "Events failed: {text}");
        } else {
            tracing::error!(events = ?given_up, class, error = text, "Events were given up: {text}");
        }
        Ok(Settling::Failed { class, error: text })
    }
}
