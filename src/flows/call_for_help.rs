//! Call for help: raises an alert for each cause once, clears it when the cause is gone, and tells
//! whoever is on call of both, as often as it takes until they have heard it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use metrics::{counter, gauge};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::clients::alerts::Pager;
use crate::clock::Clock;
use crate::db;
use crate::db::alerts::{Audience, DueAlert};
use crate::domain::alert::{Cause, causes, lasting};
use crate::domain::status::Kind;
use crate::flows::backoff;
use crate::flows::health::show_status::{Asked, ShowStatus};

/// Alerts in one message.
const BATCH: i64 = 50;

/// How long alerts belong to whoever tells them.
const LEASE: TimeDelta = TimeDelta::minutes(1);

/// The pause after the first failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_mins(30);

/// What only Redis knows.
const LETTERS: [&str; 3] =
    [Kind::RedisNotDurable.name(), Kind::LettersDead.name(), Kind::LettersWaiting.name()];

/// What calling for help needs.
#[derive(Clone)]
pub struct CallForHelp {
    pub db: PgPool,
    pub show_status: ShowStatus,
    /// None where no address is set: alerts are written down, counted and reported, and told to nobody.
    pub pager: Option<Pager>,
    pub environment: &'static str,
    pub clock: Clock,
    /// What this process saw when it looked before.
    pub seen: Arc<Mutex<Seen>>,
}

/// What was seen, and what was told without Postgres.
#[derive(Debug, Default)]
pub struct Seen {
    causes: Vec<Cause>,
    /// That Postgres is away, once it was told: it could not be written down.
    outage: Option<Cause>,
}

impl CallForHelp {
    /// Looks for troubles, and writes down which began and which are over.
    pub async fn look(&self) -> anyhow::Result<()> {
        let facts = self.show_status.facts(Asked::ByTheApi).await;
        let now = causes(&facts);
        let lasting = {
            let mut seen = self.lock();
            let lasting = lasting(&now, &seen.causes);
            seen.causes.clone_from(&now);
            lasting
        };
        if facts.postgres.is_err() {
            return self.tell_of_outage(&lasting).await;
        }
        if lasting.iter().any(|cause| cause.kind == Kind::MigrationsMissing) {
            // Nothing else is known, so nothing is over; and the table itself may be what is missing.
            return Ok(());
        }
        let audience = if self.pager.is_some() { Audience::Somebody } else { Audience::Nobody };
        let at = self.clock.now();
        let outage = self.lock().outage.clone();
        if let Some(outage) = outage {
            // It is over, and told so as any other.
            db::in_time(db::alerts::raise(&self.db, &[outage], audience, at)).await?;
            self.lock().outage = None;
        }
        let unknown: &[&str] = if facts.redis.is_err() { &LETTERS } else { &[] };
        let over =
            db::in_time(db::alerts::clear_others(&self.db, &now, unknown, audience, at)).await?;
        counter!("dealix_alerts_total", "state" => "cleared").increment(over);
        let raised = db::in_time(db::alerts::raise(&self.db, &lasting, audience, at)).await?;
        for (kind, subject) in &raised {
            counter!("dealix_alerts_total", "state" => "raised").increment(1);
            report(&lasting, kind, subject);
        }
        let open = db::in_time(db::alerts::count_open(&self.db)).await?;
        gauge!("dealix_alerts_open").set(u32::try_from(open.max(0)).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Tells what is due in one message; `false` when nothing is, or nobody hears.
    pub async fn tell(&self) -> anyhow::Result<bool> {
        let Some(pager) = &self.pager else { return Ok(false) };
        let (token, now) = (Uuid::new_v4(), self.clock.now());
        let due = db::in_time(db::alerts::claim(&self.db, token, now, now + LEASE, BATCH)).await?;
        if due.is_empty() {
            return Ok(false);
        }
        match pager.post(&self.message(&due.iter().map(told).collect::<Vec<_>>())).await {
            Ok(()) => {
                count("sent");
                db::in_time(db::alerts::set_told(&self.db, &due, token, self.clock.now())).await?;
                Ok(true)
            }
            Err(error) => {
                count("failed");
                tracing::warn!(
                    class = error.class(),
                    "Whoever is on call was not reached: {error}"
                );
                let ids: Vec<_> = due.iter().map(|alert| alert.id).collect();
                let failures = due.iter().map(|alert| alert.attempts).min().unwrap_or_default();
                let again = backoff::after(self.clock.now(), pause(failures));
                db::in_time(db::alerts::put_off(&self.db, &ids, token, error.class(), again))
                    .await?;
                Ok(false)
            }
        }
    }

    /// That Postgres is away is kept by this process alone, and told until it was heard.
    async fn tell_of_outage(&self, lasting: &[Cause]) -> anyhow::Result<()> {
        let Some(cause) = lasting.iter().find(|cause| cause.kind == Kind::PostgresAway) else {
            return Ok(());
        };
        if self.lock().outage.is_some() {
            return Ok(());
        }
        if let Some(pager) = &self.pager {
            let alert = Told {
                id: Uuid::now_v7(),
                kind: cause.kind.name(),
                subject: "",
                state: "raised",
                raised_at: self.clock.now(),
                cleared_at: None,
                message_en: &cause.message_en,
                message_ar: &cause.message_ar,
                next_command: &cause.next_command,
            };
            let posted = pager.post(&self.message(&[alert])).await;
            count(if posted.is_ok() { "sent" } else { "failed" });
            posted?;
        }
        self.lock().outage = Some(cause.clone());
        report(lasting, cause.kind.name(), "");
        Ok(())
    }

    /// What chat programs show is `text`.
    fn message(&self, alerts: &[Told<'_>]) -> Value {
        let line = |alert: &Told<'_>| match alert.state {
            "cleared" => format!("✅ {} / انتهت المشكلة", alert.message_en),
            _ => format!("⚠️ {}\n{}\n{}", alert.message_en, alert.message_ar, alert.next_command),
        };
        let text = alerts.iter().map(line).collect::<Vec<_>>().join("\n\n");
        json!({
            "service": "dealix-api", "environment": self.environment, "text": text, "alerts": alerts,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An alert as it is told.
#[derive(Serialize)]
struct Told<'a> {
    id: Uuid,
    kind: &'a str,
    subject: &'a str,
    state: &'static str,
    raised_at: chrono::DateTime<chrono::Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cleared_at: Option<chrono::DateTime<chrono::Utc>>,
    message_en: &'a str,
    message_ar: &'a str,
    next_command: &'a str,
}

fn told(alert: &DueAlert) -> Told<'_> {
    Told {
        id: alert.id,
        kind: &alert.kind,
        subject: &alert.subject,
        state: if alert.cleared_at.is_some() { "cleared" } else { "raised" },
        raised_at: alert.raised_at,
        cleared_at: alert.cleared_at,
        message_en: &alert.message_en,
        message_ar: &alert.message_ar,
        next_command: &alert.next_command,
    }
}

/// Sentry hears of it as well, once. Of a question it has heard when that was asked.
fn report(causes: &[Cause], kind: &str, subject: &str) {
    let named = |cause: &&Cause| cause.kind.name() == kind && cause.subject == subject;
    let Some(cause) = causes.iter().find(named) else { return };
    if !matches!(cause.kind, Kind::PaidNotGranted | Kind::ReviewsOpen) {
        tracing::error!(kind, subject, "Somebody is needed: {}", cause.message_en);
    }
}

fn pause(failures: i32) -> Duration {
    let doublings = u32::try_from(failures).unwrap_or_default().min(10);
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE)
}

fn count(outcome: &'static str) {
    counter!("dealix_alerts_sent_total", "outcome" => outcome).increment(1);
}
