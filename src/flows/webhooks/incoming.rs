//! A provider's event on its way in: whether it can move money, and what speaks against it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::clients::moyasar::Mode;
use crate::clients::moyasar::envelope::{Envelope, Live};
use crate::db::webhook_events::NewEvent;
use crate::domain::webhook::{Relevance, relevance};

/// The provider that events come from.
pub(crate) const SOURCE: &str = "moyasar";

/// An event that was proved to be the provider's.
pub(crate) struct Incoming {
    /// Its id in our books, should it be new.
    pub id: Uuid,
    /// What makes it unique.
    pub key: String,
    pub envelope: Envelope,
    /// Whether somebody wrote its body anew on the way, so that its bytes say nothing.
    pub is_copy: bool,
    pub relevance: Relevance,
    /// Why it cannot move money although it should.
    pub flaw: Option<Flaw>,
    pub request_id: String,
    pub trace_id: Option<String>,
    pub received_at: DateTime<Utc>,
}

/// A question to a person.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Flaw {
    pub kind: &'static str,
    pub difference: &'static str,
}

/// Whose delivery it was.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    pub request_id: &'a str,
    pub trace_id: Option<&'a str>,
}

impl Incoming {
    /// Judges an event; `ours` is the mode of our key at the provider.
    pub fn new(
        envelope: Envelope,
        ours: Mode,
        delivery: Delivery<'_>,
        received_at: DateTime<Utc>,
    ) -> Arc<Self> {
        Arc::new(Self::judge(envelope, ours, delivery, received_at))
    }

    /// Judges an event that came by way of a predecessor.
    pub fn copied(
        envelope: Envelope,
        ours: Mode,
        delivery: Delivery<'_>,
        received_at: DateTime<Utc>,
    ) -> Arc<Self> {
        Arc::new(Self { is_copy: true, ..Self::judge(envelope, ours, delivery, received_at) })
    }

    fn judge(
        envelope: Envelope,
        ours: Mode,
        delivery: Delivery<'_>,
        received_at: DateTime<Utc>,
    ) -> Self {
        let relevance = relevance(envelope.event_type.as_deref());
        let flaw = match relevance {
            Relevance::Processed => flaw(&envelope, ours),
            Relevance::Ignored => None,
        };
        Self {
            id: Uuid::now_v7(),
            key: envelope.key(),
            envelope,
            is_copy: false,
            relevance,
            flaw,
            request_id: delivery.request_id.to_owned(),
            trace_id: delivery.trace_id.map(str::to_owned),
            received_at,
        }
    }

    pub fn payment_id(&self) -> Option<&str> {
        self.envelope.data.as_ref()?.payment_id.as_deref()
    }

    /// The row that it becomes.
    pub fn row(&self) -> NewEvent<'_> {
        NewEvent {
            id: self.id,
            source: SOURCE,
            dedupe_key: &self.key,
            event_type: self.envelope.event_type.as_deref(),
            payment_id: self.payment_id(),
            body: &self.envelope.redacted,
            body_sha256: &self.envelope.sha256,
            is_settled: self.relevance == Relevance::Ignored || self.flaw.is_some(),
            outcome: self.flaw.map(|flaw| flaw.kind),
            request_id: &self.request_id,
            trace_id: self.trace_id.as_deref(),
            received_at: self.received_at,
        }
    }
}

fn flaw(envelope: &Envelope, ours: Mode) -> Option<Flaw> {
    let mode_mismatch = |difference| Some(Flaw { kind: "mode_mismatch", difference });
    match (envelope.live, ours) {
        (Live::Absent, _) => (),
        (Live::Says(live), ours) if live == ours => (),
        (Live::Says(_), Mode::Live) => {
            return mode_mismatch("a test event reached a live account");
        }
        (Live::Says(_), Mode::Test) => {
            return mode_mismatch("a live event reached a test account");
        }
        (Live::Unreadable, _) => {
            return mode_mismatch("the event does not say which mode it is of");
        }
    }
    let subject = envelope.data.as_ref();
    let names_payment = subject.is_some_and(|subject| subject.payment_id.is_some());
    let difference = "the event names no payment";
    (!names_payment).then_some(Flaw { kind: "malformed_event", difference })
}
