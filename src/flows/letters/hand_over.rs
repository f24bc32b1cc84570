//! Hand failed events over to the dead-letter queue, which from then on decides when they are tried.

use std::time::Duration;

use chrono::TimeDelta;
use sqlx::PgPool;

use crate::clock::Clock;
use crate::db;
use crate::db::dead_letters::FailedEvent;
use crate::domain::funnel::{Analytics, FunnelEvent, Occurrence};
use crate::faults;
use crate::flows::backoff::after;
use crate::flows::health::check_sentry::OPERATIONS;
use crate::queue::{Extra, Letter, Letters, Payload, PushError, Pushed, Queue, backed};
use crate::wake::Wake;

/// When the queue tries a failed event first: the last of the waits after a failure.
pub(super) const FIRST_WAIT: Duration = Duration::from_mins(10);

/// How often it is made sure that the queue still has the letter.
pub(super) const LOOK_AGAIN: TimeDelta = TimeDelta::hours(1);

/// How many are handed over, and looked after, in one go.
pub(super) const PAGE: i64 = 100;

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
    /// Hands over what failed since, and looks after what was handed over before; tells how many it
    /// were. Neither waits for the other's success.
    pub async fn run(&self) -> Result<usize, HandOverError> {
        let (handed_over, looked_after) = (self.hand_over().await, self.look_after().await);
        Ok(handed_over? + looked_after?)
    }

    /// The letter comes first: who dies in between finds it there already.
    async fn hand_over(&self) -> Result<usize, HandOverError> {
        let failed = db::in_time(db::dead_letters::list_failed(&self.db, PAGE)).await?;
        for event in &failed {
            faults::step("failed_event_listed");
            // A letter that carries the event itself may be dead, or about to be acknowledged.
            let now = self.clock.now();
            backed(self.letters.take_over(Queue::Webhooks, &self.letter(event), now).await)?;
            faults::step("failed_event_pushed");
            self.note(event).await?;
        }
        if !failed.is_empty() {
            self.wake.outbox.notify_one();
        }
        Ok(failed.len())
    }

    /// Writes letters anew that Redis has lost: a failed event without one would never be tried again.
    async fn look_after(&self) -> Result<usize, HandOverError> {
        let now = self.clock.now();
        let handed_over = db::dead_letters::list_handed_over(&self.db, now - LOOK_AGAIN, PAGE);
        let handed_over = db::in_time(handed_over).await?;
        for event in &handed_over {
            match backed(self.letters.rebuild(Queue::Webhooks, &self.letter(event), now).await)? {
                Pushed::Known | Pushed::Deleted => (),
                Pushed::New => {
                    faults::step("lost_letter_pushed");
                    tracing::error!(event.id = %event.id, "The letter of a failed event was lost and is written anew");
                }
            }
        }
        let ids: Vec<_> = handed_over.iter().map(|event| event.id).collect();
        if !ids.is_empty() {
            db::in_time(db::dead_letters::confirm_handed_over(&self.db, &ids, now)).await?;
            faults::step("letters_confirmed");
        }
        Ok(ids.len())
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
            body_sha256: Some(event.body_sha256.clone()),
            is_changed: false,
            original: None,
            extra: Extra::default(),
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
            faults::step("failed_event_unnoted");
            tx.commit().await?;
            faults::step("failed_event_noted");
            Ok(())
        };
        db::in_time(note).await
    }
}

/// The same event is the same letter, whichever way it came into the queue.
fn letter_id(event: &FailedEvent) -> String {
    format!("{}:{}", event.source, event.dedupe_key)
}
