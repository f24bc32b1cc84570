//! The funnel: the events that product analytics gets to see.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

/// What can happen to a visitor on the way to becoming a customer, and to us on theirs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FunnelEvent {
    LandingView,
    DemoRequest,
    LeadCaptured,
    LeadQualified,
    MeetingBooked,
    ProposalSent,
    DealWon,
    PaymentInitiated,
    PaymentSucceeded,
    PaymentFailed,
    OutboundSent,
    OutboundReplied,
    ApprovalRequested,
    ApprovalDecided,
    WebhookFailed,
    DlqPushed,
    /// Not of the funnel: an operator asks whether events arrive.
    OpsProbe,
}

impl FunnelEvent {
    /// The name that analytics knows it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LandingView => "landing_view",
            Self::DemoRequest => "demo_request",
            Self::LeadCaptured => "lead_captured",
            Self::LeadQualified => "lead_qualified",
            Self::MeetingBooked => "meeting_booked",
            Self::ProposalSent => "proposal_sent",
            Self::DealWon => "deal_won",
            Self::PaymentInitiated => "payment_initiated",
            Self::PaymentSucceeded => "payment_succeeded",
            Self::PaymentFailed => "payment_failed",
            Self::OutboundSent => "outbound_sent",
            Self::OutboundReplied => "outbound_replied",
            Self::ApprovalRequested => "approval_requested",
            Self::ApprovalDecided => "approval_decided",
            Self::WebhookFailed => "webhook_failed",
            Self::DlqPushed => "dlq_pushed",
            Self::OpsProbe => "ops_probe",
        }
    }
}

/// One occurrence, fixed for good when it is written: every send repeats it to the letter.
#[derive(Clone, PartialEq, Debug)]
pub struct Occurrence {
    /// What analytics deduplicates by.
    pub uuid: Uuid,
    /// What happened.
    pub event: FunnelEvent,
    /// To whom: a visitor's or a checkout's id, never an e-mail address or a phone number.
    pub distinct_id: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Details without personal data.
    pub properties: Map<String, Value>,
}

impl Occurrence {
    /// Something that happens now.
    pub fn new(event: FunnelEvent, distinct_id: impl Into<String>, at: DateTime<Utc>) -> Self {
        let distinct_id = distinct_id.into();
        Self { uuid: Uuid::now_v7(), event, distinct_id, at, properties: Map::new() }
    }

    /// The same with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.properties.insert(name.to_owned(), value.into());
        self
    }
}
