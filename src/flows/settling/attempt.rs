//! One attempt to settle events of one payment, whoever makes it: [`prepare`] asks the provider, outside
//! of any transaction, and [`Prepared::apply`] writes all that follows, within the one that it is given.
//! Who may make the attempt, and what becomes of the events, is the business of the callers.

use chrono::{DateTime, Utc};
use sqlx::{PgPool, PgTransaction};

use crate::clients::moyasar::{Moyasar, Payment};
use crate::clients::{ClientError, Flaw};
use crate::db::reviews::NewReview;
use crate::db::webhook_leases::ClaimedEvent;
use crate::domain::funnel::Analytics;
use crate::faults;
use crate::flows::questions::Questions;
use crate::flows::settling::adopt_invoice::{AdoptError, Adoption};
use crate::flows::settling::settle_payment::{Context, Prompt, Settled, settle_payment};

/// What becomes of an event that names no payment, and what a person is asked about it.
const MALFORMED: (&str, &str) = ("malformed_event", "the event names no payment");

/// Why events were not settled.
#[derive(Debug, thiserror::Error)]
pub(in crate::flows) enum Unsettled {
    /// Somebody else's trouble: not an attempt.
    #[error("the payment provider did not answer: {0}")]
    Outage(#[source] ClientError),
    /// The event itself cannot be settled: an attempt.
    #[error("the payment provider refused: {0}")]
    Refused(#[source] ClientError),
    /// Perhaps a key of another account, or a forged event: the event stays, whoever is right.
    #[error("the provider does not know this payment")]
    UnknownPayment,
    #[error("the provider answered with another payment than was asked for")]
    WrongPayment,
    #[error("the database failed: {0}")]
    Storage(#[from] sqlx::Error),
    #[error("settling it panicked: {0}")]
    Panic(String),
    #[error("{0} processes ended with nothing but this event in hand")]
    Poison(i32),
}

impl Unsettled {
    /// A word for it, which the record and the dead letter carry.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Outage(error) | Self::Refused(error) => error.class(),
            Self::UnknownPayment => "unknown_payment",
            Self::WrongPayment => "wrong_payment",
            Self::Storage(_) => "storage",
            Self::Panic(_) => "panic",
            Self::Poison(_) => "poison",
        }
    }

    /// What a person is asked when the event is given up: where nobody else can know more.
    pub fn question(&self) -> Option<&'static str> {
        match self {
            Self::UnknownPayment => Some("unknown_payment"),
            Self::WrongPayment => Some("wrong_payment"),
            Self::Outage(_)
            | Self::Refused(_)
            | Self::Storage(_)
            | Self::Panic(_)
            | Self::Poison(_) => None,
        }
    }
}

impl From<ClientError> for Unsettled {
    fn from(error: ClientError) -> Self {
        // A key that was revoked says nothing about any payment: all of them wait for the next.
        if error.is_refusal() { Self::Refused(error) } else { Self::Outage(error) }
    }
}

impl From<AdoptError> for Unsettled {
    fn from(error: AdoptError) -> Self {
        match error {
            AdoptError::Client(error) => error.into(),
            AdoptError::Storage(error) => error.into(),
        }
    }
}

/// What the provider says now of the payment that the events are about; nothing if they name none.
pub(in crate::flows) struct Prepared(Option<Found>);

struct Found {
    payment: Payment,
    /// Its invoice, if we had not heard of it and it is ours.
    adoption: Option<Adoption>,
}

/// Asks the provider.
pub(in crate::flows) async fn prepare(
    db: &PgPool,
    moyasar: &Moyasar,
    payment_id: Option<&str>,
) -> Result<Prepared, Unsettled> {
    let Some(payment_id) = payment_id else { return Ok(Prepared(None)) };
    let payment = match moyasar.fetch_payment(payment_id).await {
        Ok(payment) => payment,
        Err(ClientError::Unreadable { flaw: Flaw::NotAsked, .. }) => {
            return Err(Unsettled::WrongPayment);
        }
        Err(ClientError::Status { status, .. }) if status.as_u16() == 404 => {
            return Err(Unsettled::UnknownPayment);
        }
        Err(error) => return Err(error.into()),
    };
    faults::step("payment_fetched");
    let adoption = Adoption::find(db, moyasar, &payment).await?;
    if adoption.is_some() {
        faults::step("adoption_found");
    }
    Ok(Prepared(Some(Found { payment, adoption })))
}

impl Prepared {
    /// Everything that it brings about, except for the end of the events themselves.
    pub async fn apply<'e>(
        &self,
        tx: &mut PgTransaction<'_>,
        events: &'e [ClaimedEvent],
        analytics: Analytics,
        now: DateTime<Utc>,
    ) -> sqlx::Result<Settled> {
        let Some(Found { payment, adoption }) = &self.0 else {
            let ((kind, difference), mut questions) = (MALFORMED, Questions::default());
            for event in events {
                questions.ask(&mut **tx, &question(event, kind, difference, now)).await?;
            }
            faults::step("question_unsaved");
            return Ok(Settled { outcome: kind, questions });
        };
        let context = Context {
            analytics,
            adopted_by: adoption.as_ref().map(|adoption| adoption.checkout),
            request_id: events.first().map_or("", |event| &event.request_id),
            now,
        };
        let prompt = |event: &'e ClaimedEvent| Prompt { event: event.id, body: &event.body };
        let prompts: Vec<_> = events.iter().map(prompt).collect();
        let settled = settle_payment(tx, payment, &prompts, context).await?;
        if let Some(adoption) = adoption {
            // Not before the checkout is locked: two adoptions at once would wait for each other.
            adoption.write(tx, now).await?;
        }
        Ok(settled)
    }
}

/// What a person is asked about an event.
pub(super) fn question<'a>(
    event: &'a ClaimedEvent,
    kind: &'static str,
    difference: &'a str,
    opened_at: DateTime<Utc>,
) -> NewReview<'a> {
    NewReview {
        kind,
        payment_id: event.payment_id.as_deref(),
        checkout_id: None,
        // Of a payment one is asked once, however many events it has.
        event_id: event.payment_id.is_none().then_some(event.id),
        difference,
        opened_at,
    }
}
