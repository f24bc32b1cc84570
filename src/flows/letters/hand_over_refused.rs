//! Hand events that analytics refused over to the dead-letter queue, which tries each of them alone.

use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use sqlx::PgPool;

use crate::clock::Clock;
use crate::db;
use crate::db::refused_events::RefusedEvent;
use crate::faults;
use crate::flows::backoff::after;
use crate::flows::letters::hand_over::{FIRST_WAIT, HandOverError, LOOK_AGAIN, PAGE};
use crate::queue::{Extra, Letter, Letters, Payload, Pushed, Queue, backed};

/// What handing over needs.
#[derive(Clone)]
pub(crate) struct HandOverRefused {
    pub db: PgPool,
    pub letters: Letters,
    pub max_retries: u32,
    pub clock: Clock,
}

impl HandOverRefused {
    /// Hands over what was refused since, and looks after what was handed over before; tells how many
    /// it were. The letter comes first: who dies in between finds it there already.
    pub async fn run(&self) -> Result<usize, HandOverError> {
        let now = self.clock.now();
        let refused = db::in_time(db::refused_events::list_new(&self.db, PAGE)).await?;
        let seen = db::refused_events::list_handed_over(&self.db, now - LOOK_AGAIN, PAGE);
        let seen = db::in_time(seen).await?;
        let new = try_join_all(refused.iter().map(|event| self.push(event, now))).await?;
        let lost = try_join_all(seen.iter().map(|event| self.push(event, now))).await?;
        let lost = lost.into_iter().filter(|pushed| *pushed == Pushed::New).count();
        if lost > 0 {
            tracing::error!(lost, "Redis had lost {lost} letters for analytics, written anew now");
        }
        let uuids: Vec<_> = refused.iter().chain(&seen).map(|event| event.uuid).collect();
        if !uuids.is_empty() {
            db::in_time(db::refused_events::set_handed_over(&self.db, &uuids, now)).await?;
            faults::step("refused_event_noted");
        }
        Ok(new.len() + seen.len())
    }

    async fn push(
        &self,
        event: &RefusedEvent,
        now: DateTime<Utc>,
    ) -> Result<Pushed, HandOverError> {
        faults::step("refused_event_unpushed");
        let letter = self.letter(event, now);
        let pushed = backed(self.letters.rebuild(Queue::Analytics, &letter, now).await)?;
        faults::step("refused_event_pushed");
        Ok(pushed)
    }

    fn letter(&self, event: &RefusedEvent, now: DateTime<Utc>) -> Letter {
        let RefusedEvent { uuid, last_error, request_id } = event.clone();
        Letter {
            id: format!("outbox:{uuid}"),
            source: "posthog".to_owned(),
            error: last_error.unwrap_or_default(),
            error_class: "refused".to_owned(),
            attempt: 0,
            max_retries: self.max_retries,
            created_at: now,
            last_attempt_at: None,
            next_attempt_at: after(now, FIRST_WAIT),
            request_id: request_id.unwrap_or_default(),
            trace_id: None,
            payload: Payload::OutboxRow { row_id: uuid },
            body_sha256: None,
            is_changed: false,
            original: None,
            extra: Extra::default(),
        }
    }
}
