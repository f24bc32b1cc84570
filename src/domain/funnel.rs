//! The funnel: the events that product analytics gets to see.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
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

/// Every event, in the order of the funnel.
const ALL: [FunnelEvent; 17] = [
    FunnelEvent::LandingView,
    FunnelEvent::DemoRequest,
    FunnelEvent::LeadCaptured,
    FunnelEvent::LeadQualified,
    FunnelEvent::MeetingBooked,
    FunnelEvent::ProposalSent,
    FunnelEvent::DealWon,
    FunnelEvent::PaymentInitiated,
    FunnelEvent::PaymentSucceeded,
    FunnelEvent::PaymentFailed,
    FunnelEvent::OutboundSent,
    FunnelEvent::OutboundReplied,
    FunnelEvent::ApprovalRequested,
    FunnelEvent::ApprovalDecided,
    FunnelEvent::WebhookFailed,
    FunnelEvent::DlqPushed,
    FunnelEvent::OpsProbe,
];

impl FunnelEvent {
    /// The event with that name, if a visitor's browser may report it.
    pub fn from_visitor(name: &str) -> Option<Self> {
        let event = ALL.into_iter().find(|event| event.name() == name)?;
        matches!(event, Self::LandingView | Self::DemoRequest).then_some(event)
    }

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

/// Whether analytics is told at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Analytics {
    /// What happens is sent.
    On,
    /// What happens is kept as skipped, and not sent later either.
    Off,
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

    /// Something that can happen to `subject` once only: however often it is written, it is the same
    /// occurrence.
    pub fn once(
        event: FunnelEvent,
        distinct_id: impl Into<String>,
        subject: &str,
        at: DateTime<Utc>,
    ) -> Self {
        let digest =
            Sha256::new().chain_update(event.name()).chain_update([0]).chain_update(subject);
        let [first_half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _]: [u8; 32] =
            digest.finalize().into();
        let uuid = uuid::Builder::from_custom_bytes(first_half).into_uuid();
        Self { uuid, ..Self::new(event, distinct_id, at) }
    }

    /// The same with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.properties.insert(name.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_funnel_has_its_sixteen_names_and_the_probe() {
        let names = ALL.map(FunnelEvent::name);
        assert_eq!(
            names.join(", "),
            "landing_view, demo_request, lead_captured, lead_qualified, meeting_booked, proposal_sent, \
             deal_won, payment_initiated, payment_succeeded, payment_failed, outbound_sent, \
             outbound_replied, approval_requested, approval_decided, webhook_failed, dlq_pushed, ops_probe"
        );
    }

    #[test]
    fn a_visitor_can_report_two_events_only() {
        let reportable: Vec<_> =
            ALL.map(FunnelEvent::name).into_iter().filter_map(FunnelEvent::from_visitor).collect();
        assert_eq!(reportable, [FunnelEvent::LandingView, FunnelEvent::DemoRequest]);
        assert_eq!(FunnelEvent::from_visitor("nothing"), None);
    }

    #[test]
    fn what_happens_once_is_the_same_whenever_it_is_written() {
        let at = "2026-11-20T10:00:00Z".parse().unwrap();
        let later = "2026-11-20T11:00:00Z".parse().unwrap();
        let once = |event, subject, at| Occurrence::once(event, "ops", subject, at).uuid;
        let first = once(FunnelEvent::DlqPushed, "moyasar:e1", at);
        assert_eq!(first, once(FunnelEvent::DlqPushed, "moyasar:e1", later));
        assert_ne!(first, once(FunnelEvent::DlqPushed, "moyasar:e2", at));
        assert_ne!(first, once(FunnelEvent::WebhookFailed, "moyasar:e1", at));
        assert_eq!(first.get_version_num(), 8);
    }

    #[test]
    fn details_are_added_one_by_one() {
        let at = "2026-11-20T10:00:00Z".parse().unwrap();
        let occurrence = Occurrence::new(FunnelEvent::DealWon, "visitor", at)
            .with("plan", "starter")
            .with("n", 1);
        assert_eq!((occurrence.distinct_id.as_str(), occurrence.at), ("visitor", at));
        assert_eq!(
            serde_json::to_string(&occurrence.properties).unwrap(),
            r#"{"n":1,"plan":"starter"}"#
        );
    }
}
