//! Hand failed events over to the dead-letter queue, which from then on decides when they are tried.

use std::time::Duration;

use sqlx::PgPool;

use crate::clock::Clock;
use crate::db;
use crate::db::dead_letters::FailedEvent;
use crate::domain::funnel::{Analytics, FunnelEvent, Occurrence};
use crate::faults;
use crate::flows::backoff::after;
use crate::flows::check_sentry::OPERATIONS;
use crate::queue::{Letter, Letters, Payload, PushError, Queue};
use crate::wake::Wake;

/// When the queue tries a failed event first: the last of the waits after a failure.
const FIRST_WAIT: Duration = Duration::from_mins(10);

/// How many are handed over in one go.
const PAGE: i64 = 100;

/// What handing over needs.
#[derive(Clone)]
pub(crate) struct HandOver {
    pub db: PgPool,
    pub letters: Letters,
    pub analytics: Analytics,
    pub max_retries: u32,
    pub clock: Clock,
    pub wake: Wake,
}

/// Why nothing was handed over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandOverError {
    #[error(transparent)]
    Storage(#[from] sqlx::Error),
    /// The rows stay as they are.
    #[error(transparent)]
    Queue(#[from] PushError),
}

impl HandOver {
    /// Hands over what failed since; tells how many it were. The letter comes first: who dies in
    /// between finds it there already.
    pub async fn run(&self) -> Result<usize, HandOverError> {
        let failed = db::in_time(db::dead_letters::list_failed(&self.db, PAGE)).await?;
        for event in &failed {
            faults::step("failed_event_listed");
            self.letters.push(Queue::Webhooks, &self.letter(event)).await?;
            faults::step("failed_event_pushed");
            self.note(event).await?;
            faults::step("failed_event_noted");
        }
        if !failed.is_empty() {
            self.wake.outbox.notify_one();
        }
        Ok(failed.len())
    }

    fn letter(&self, event: &FailedEvent) -> Letter {
        let now = self.clock.now();
        Letter {
            id: letter_id(event),
            source: event.source.clone(),
            error: event.last_error.clone().unwrap_or_default(),
            error_class: event.error_class.clone().unwrap_or_else(|| "unknown".to_owned()),
            attempt: 0,
            max_retries: self.max_retries,
            created_at: now,
            last_attempt_at: None,
            next_attempt_at: after(now, FIRST_WAIT),
            request_id: event.request_id.clone(),
            trace_id: event.trace_id.clone(),
            payload: Payload::StoredEvent { row_id: event.id },
        }
    }

    async fn note(&self, event: &FailedEvent) -> sqlx::Result<()> {
        let now = self.clock.now();
        let letter_id = letter_id(event);
        let happened = |what| {
            Occurrence::once(what, OPERATIONS, &letter_id, now)
                .with("queue", Queue::Webhooks.name())
                .with("error_class", event.error_class.as_deref().unwrap_or("unknown"))
        };
        let note = async {
            let mut tx = self.db.begin().await?;
            if db::dead_letters::set_handed_over(&mut tx, event.id, now).await? {
                for what in [FunnelEvent::WebhookFailed, FunnelEvent::DlqPushed] {
                    let request_id = Some(event.request_id.as_str());
                    db::outbox::insert(&mut tx, &happened(what), self.analytics, request_id)
                        .await?;
                }
            }
            tx.commit().await
        };
        db::in_time(note).await
    }
}

/// The same event is the same letter, whichever way it came into the queue.
fn letter_id(event: &FailedEvent) -> String {
    format!("{}:{}", event.source, event.dedupe_key)
}
