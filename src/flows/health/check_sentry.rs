//! Proves that error reports and funnel events reach those who should get them.

use std::sync::Arc;

use sqlx::PgPool;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::clients::sentry::{Report, Sentry};
use crate::clock::Clock;
use crate::db;
use crate::domain::funnel::{Analytics, FunnelEvent, Occurrence};

/// Whom analytics takes what concerns no visitor for: probes and our own troubles.
pub(in crate::flows) const OPERATIONS: &str = "ops";

/// Sends one error report and one funnel event.
#[derive(Clone)]
pub struct CheckSentry {
    /// Where reports go.
    pub sentry: Sentry,
    /// Where events are queued.
    pub db: PgPool,
    /// Whether events are sent.
    pub analytics: Analytics,
    /// Rung when an event was queued.
    pub bell: Arc<Notify>,
    /// What time it is.
    pub clock: Clock,
}

/// What became of the report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReportOutcome {
    /// Sentry confirmed it.
    Sent,
    /// Nobody is configured to report to.
    Disabled,
    /// Sentry did not confirm it.
    Failed,
}

impl ReportOutcome {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Disabled => "disabled",
            Self::Failed => "failed",
        }
    }
}

/// What became of the event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventOutcome {
    /// It will be sent with the next batch.
    Queued,
    /// Events are switched off.
    Disabled,
    /// It could not be stored.
    Failed,
}

impl EventOutcome {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Disabled => "disabled",
            Self::Failed => "failed",
        }
    }
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SentryCheck {
    /// Whether there is somebody to report to.
    pub is_configured: bool,
    /// What became of the report.
    pub report: ReportOutcome,
    /// The report, as Sentry knows it.
    pub event_id: Option<Uuid>,
    /// What became of the event.
    pub event: EventOutcome,
    /// The event, as analytics knows it.
    pub uuid: Option<Uuid>,
}

impl CheckSentry {
    /// Waits until Sentry has confirmed the report, a few seconds at most.
    pub async fn run(&self, request_id: &str) -> SentryCheck {
        let report = Report {
            message: "An operator asks whether error reports arrive".to_owned(),
            logger: module_path!().to_owned(),
            request_id: Some(request_id.to_owned()),
            ..Report::default()
        };
        let (proof, (event, uuid)) =
            tokio::join!(self.sentry.prove(report), self.queue_event(request_id));
        SentryCheck {
            is_configured: self.sentry.is_configured(),
            report: match proof.map(|proof| proof.is_confirmed) {
                Some(true) => ReportOutcome::Sent,
                Some(false) => ReportOutcome::Failed,
                None => ReportOutcome::Disabled,
            },
            event_id: proof.map(|proof| proof.event_id),
            event,
            uuid,
        }
    }

    /// A dead database is no reason to keep the other half of the answer back.
    async fn queue_event(&self, request_id: &str) -> (EventOutcome, Option<Uuid>) {
        if self.analytics == Analytics::Off {
            return (EventOutcome::Disabled, None);
        }
        let probe = Occurrence::new(FunnelEvent::OpsProbe, OPERATIONS, self.clock.now());
        let insert = async {
            let mut connection = self.db.acquire().await?;
            db::outbox::insert(&mut connection, &probe, self.analytics, Some(request_id)).await
        };
        match db::in_time(insert).await {
            Ok(()) => {
                self.bell.notify_one();
                (EventOutcome::Queued, Some(probe.uuid))
            }
            Err(error) => {
                tracing::warn!(%error, "The probe for analytics could not be queued: {error}");
                (EventOutcome::Failed, None)
            }
        }
    }
}
