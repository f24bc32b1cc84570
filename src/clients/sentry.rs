//! Sentry: error reports, queued without ever blocking who reports, and sent by one task.
//!
//! It is the one service without a breaker: nobody waits for it, and a full queue drops.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use secrecy::ExposeSecret;
use sentry::protocol::{Event, Level, Value};
use sentry::types::Dsn;
use sentry::{ClientOptions, Envelope, Transport};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::clients::http_client;
use crate::clock::Clock;
use crate::config::SentryConfig;
use crate::domain::redaction::redact;

/// Reports that wait to be sent; further ones are dropped and counted.
const QUEUE_LENGTH: usize = 100;
/// How long one report may take, and how long a proof is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long we keep quiet when told to slow down without being told for how long, and at most.
const QUIET: Duration = Duration::from_mins(1);
const LONGEST_QUIET: Duration = Duration::from_hours(1);
/// Longest text in a report, in characters.
const LONGEST_TEXT: usize = 4096;

/// What went wrong, as the code that noticed said it; cleaned before it leaves.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What happened.
    pub message: String,
    /// Which module said so.
    pub logger: String,
    /// The request during which it happened.
    pub request_id: Option<String>,
    /// What else was said.
    pub fields: BTreeMap<&'static str, String>,
    /// What makes it the same matter as another report; if there is none, Sentry judges by the text.
    pub fingerprint: Option<String>,
}

/// Who reports.
#[derive(Clone, Debug, Default)]
pub struct Reporter {
    /// Version and commit.
    pub release: String,
    /// Where the process runs.
    pub environment: &'static str,
    /// What time it is.
    pub clock: Clock,
    /// Whether nobody may be called.
    pub is_passive: bool,
}

/// Whether a report that was waited for arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    /// The report, as Sentry knows it.
    pub event_id: Uuid,
    /// Whether Sentry confirmed it.
    pub is_confirmed: bool,
}

/// The error reports of this process; without a DSN it swallows them.
#[derive(Clone)]
pub struct Sentry {
    reporting: Option<Arc<Reporting>>,
}

struct Reporting {
    client: sentry::Client,
    mailbag: Arc<Mailbag>,
    clock: Clock,
}

/// A report on its way.
#[must_use]
pub struct Parcel {
    body: Vec<u8>,
    waiting: Option<oneshot::Sender<bool>>,
}

impl Sentry {
    /// Reaches out to nothing; reports wait until [`Sentry::deliver`] is called.
    pub fn new(config: &SentryConfig, reporter: Reporter) -> anyhow::Result<Self> {
        let Some(dsn) = &config.dsn else { return Ok(Self { reporting: None }) };
        let dsn: Dsn = dsn.expose_secret().parse().context("SENTRY_DSN is not a Sentry DSN")?;
        let Reporter { release, environment, clock, is_passive } = reporter;
        let mailbag = Arc::new(Mailbag::new(&dsn, clock.clone(), is_passive)?);
        let mut options = ClientOptions::new().release(release).environment(environment);
        options.dsn = Some(dsn);
        options.before_send = Some(Arc::new(|event| Some(cleaned(event))));
        options.transport = Some(Arc::new(Arc::clone(&mailbag)));
        let client = sentry::Client::with_options(options);
        Ok(Self { reporting: Some(Arc::new(Reporting { client, mailbag, clock })) })
    }

    /// Whether there is somebody to report to.
    pub fn is_configured(&self) -> bool {
        self.reporting.is_some()
    }

    /// Queues a report. Never blocks and never fails.
    pub fn report(&self, report: Report) {
        if let Some(reporting) = &self.reporting {
            reporting.capture(Uuid::now_v7(), report);
        }
    }

    /// Queues a report and waits until Sentry has confirmed it or the patience ends; `None` if
    /// there is nobody to report to.
    pub async fn prove(&self, report: Report) -> Option<Proof> {
        let reporting = self.reporting.as_deref()?;
        let event_id = Uuid::now_v7();
        let outcome = reporting.mailbag.expect(event_id);
        reporting.capture(event_id, report);
        let outcome = tokio::time::timeout(PATIENCE, outcome).await;
        reporting.mailbag.forget(event_id);
        Some(Proof { event_id, is_confirmed: matches!(outcome, Ok(Ok(true))) })
    }

    /// The next report to deliver; waits for one, for ever if there is nobody to report to.
    pub async fn next(&self) -> Parcel {
        match &self.reporting {
            Some(reporting) => reporting.mailbag.next().await,
            None => std::future::pending().await,
        }
    }

    /// Sends one report, and tells who waits for it.
    pub async fn deliver(&self, parcel: Parcel) {
        if let Some(reporting) = &self.reporting {
            reporting.mailbag.deliver(parcel).await;
        }
    }

    /// Sends what is queued; tells whether that took no longer than `patience`.
    pub async fn flush(&self, patience: Duration) -> bool {
        let Some(reporting) = &self.reporting else { return true };
        tokio::time::timeout(patience, reporting.mailbag.deliver_all()).await.is_ok()
    }
}

impl Reporting {
    fn capture(&self, event_id: Uuid, report: Report) {
        let Report { message, logger, request_id, fields, fingerprint } = report;
        let default = Event::default();
        let fingerprint = fingerprint.map(|text| vec![text.into()].into());
        let event = Event {
            event_id,
            level: Level::Error,
            message: Some(message),
            logger: Some(logger),
            timestamp: SystemTime::from(self.clock.now()),
            tags: request_id.into_iter().map(|id| (REQUEST_ID.to_owned(), id)).collect(),
            extra: fields.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect(),
            fingerprint: fingerprint.unwrap_or(default.fingerprint),
            ..default
        };
        self.client.capture_event(event, None);
    }
}

/// Our own tag; the edge lets only harmless characters into it.
const REQUEST_ID: &str = "request_id";

/// The last gate: what describes a person or the machine is dropped, texts are cleaned.
fn cleaned(event: Event<'static>) -> Event<'static> {
    let mut event = Event {
        server_name: None,
        user: None,
        request: None,
        breadcrumbs: Vec::new().into(),
        culprit: event.culprit.as_deref().map(clean_text),
        transaction: event.transaction.as_deref().map(clean_text),
        message: event.message.as_deref().map(clean_text),
        logentry: None,
        ..event
    };
    for exception in &mut event.exception {
        exception.value = exception.value.as_deref().map(clean_text);
    }
    for value in event.extra.values_mut() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        *value = Value::String(clean_text(&text));
    }
    for (_, value) in event.tags.iter_mut().filter(|(name, _)| *name != REQUEST_ID) {
        *value = clean_text(value);
    }
    event
}

fn clean_text(text: &str) -> String {
    redact(text).chars().take(LONGEST_TEXT).collect()
}

/// The transport: a bounded queue in memory, and how its content is sent.
struct Mailbag {
    http: reqwest::Client,
    url: url::Url,
    auth: String,
    clock: Clock,
    is_passive: bool,
    sender: mpsc::Sender<Parcel>,
    receiver: tokio::sync::Mutex<mpsc::Receiver<Parcel>>,
    expected: Mutex<HashMap<Uuid, oneshot::Sender<bool>>>,
    quiet_until: Mutex<Option<Instant>>,
}

impl Mailbag {
    fn new(dsn: &Dsn, clock: Clock, is_passive: bool) -> anyhow::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        Ok(Self {
            http: http_client(PATIENCE)?,
            url: dsn.envelope_api_url(),
            auth: dsn.to_auth(Some(concat!("dealix-api/", env!("CARGO_PKG_VERSION")))).to_string(),
            clock,
            is_passive,
            sender,
            receiver: tokio::sync::Mutex::new(receiver),
            expected: Mutex::default(),
            quiet_until: Mutex::default(),
        })
    }

    fn expect(&self, event_id: Uuid) -> oneshot::Receiver<bool> {
        let (teller, outcome) = oneshot::channel();
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).insert(event_id, teller);
        outcome
    }

    fn forget(&self, event_id: Uuid) -> Option<oneshot::Sender<bool>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).remove(&event_id)
    }

    async fn next(&self) -> Parcel {
        match self.receiver.lock().await.recv().await {
            Some(parcel) => parcel,
            // The other end lives in `self`.
            None => std::future::pending().await,
        }
    }

    async fn deliver_all(&self) {
        let mut receiver = self.receiver.lock().await;
        while let Ok(parcel) = receiver.try_recv() {
            self.deliver(parcel).await;
        }
    }

    async fn deliver(&self, parcel: Parcel) {
        let is_confirmed = match self.post(parcel.body).await {
            Ok(status) if status.is_success() => true,
            Ok(status) => {
                tracing::warn!(status = status.as_u16(), "Sentry refused a report: {status}");
                false
            }
            Err(error) => {
                tracing::warn!("Sentry did not take a report: {}", error.without_url());
                false
            }
        };
        count(if is_confirmed { "sent" } else { "failed" });
        tell(parcel.waiting, is_confirmed);
    }

    async fn post(&self, body: Vec<u8>) -> reqwest::Result<StatusCode> {
        let request = self.http.post(self.url.clone()).body(body);
        let request = request.header(CONTENT_TYPE, "application/x-sentry-envelope");
        let answer = request.header("X-Sentry-Auth", &self.auth).send().await?;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let quiet = seconds.and_then(|seconds| seconds.parse().ok());
            let quiet = quiet.map_or(QUIET, Duration::from_secs).min(LONGEST_QUIET);
            let until = self.clock.monotonic().checked_add(quiet);
            *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        }
        Ok(answer.status())
    }

    fn is_quiet(&self) -> bool {
        let until = *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_passive || until.is_some_and(|until| self.clock.monotonic() < until)
    }
}

impl Transport for Mailbag {
    fn send_envelope(&self, envelope: Envelope) {
        let waiting = envelope.uuid().and_then(|event_id| self.forget(*event_id));
        let mut body = Vec::new();
        let is_written = envelope.to_writer(&mut body).is_ok();
        if !is_written || self.is_quiet() {
            count("dropped");
            return tell(waiting, false);
        }
        if let Err(error) = self.sender.try_send(Parcel { body, waiting }) {
            count("dropped");
            tell(error.into_inner().waiting, false);
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("dealix_sentry_reports_total", "outcome" => outcome).increment(1);
}

/// Who no longer waits need not be told.
fn tell(waiting: Option<oneshot::Sender<bool>>, is_confirmed: bool) {
    if let Some(waiting) = waiting {
        waiting.send(is_confirmed).ok();
    }
}

#[cfg(test)]
mod tests {
    use dealix_sandbox::{Fault, Operation, Options, Sandbox, Trouble};
    use sentry::protocol::{Exception, Request, User};

    use super::*;

    fn sentry(dsn: &str, clock: &Clock, is_passive: bool) -> Sentry {
        let dsn = (!dsn.is_empty()).then(|| dsn.to_owned().into());
        let config = SentryConfig { dsn, traces_sample_rate: 0.0 };
        let reporter = Reporter {
            release: "1.2.3+abc".to_owned(),
            environment: "test",
            clock: clock.clone(),
            is_passive,
        };
        Sentry::new(&config, reporter).unwrap()
    }

    async fn sandbox() -> Sandbox {
        Sandbox::start(Options::default()).await.unwrap()
    }

    fn report(message: &str) -> Report {
        Report { message: message.to_owned(), ..Report::default() }
    }

    fn asked(sandbox: &Sandbox) -> u64 {
        sandbox.ledger().requests(Operation::StoreEnvelope)
    }

    /// Waits for a proof while the one task that sends does so.
    async fn prove(sentry: &Sentry) -> Option<Proof> {
        let sending = async {
            loop {
                sentry.deliver(sentry.next().await).await;
            }
        };
        tokio::select! {
            proof = sentry.prove(report("a proof")) => proof,
            () = sending => None,
        }
    }

    #[tokio::test]
    async fn a_report_arrives_with_release_and_environment_and_is_proved() {
        let sandbox = sandbox().await;
        let clock = Clock::held("2026-01-02T03:04:05Z".parse().unwrap());
        let proof = prove(&sentry(&sandbox.sentry_dsn(), &clock, false)).await.unwrap();
        assert!(proof.is_confirmed);
        let ledger = sandbox.ledger();
        let event = &ledger.sentry_events().next().unwrap().payload;
        assert_eq!(event["event_id"], proof.event_id.simple().to_string());
        assert_eq!(event["message"], "a proof");
        assert_eq!(event["release"], "1.2.3+abc");
        assert_eq!(event["environment"], "test");
        assert_eq!(event["timestamp"], 1_767_323_045.0);
        assert_eq!(event.get("server_name"), None);
    }

    #[tokio::test]
    async fn what_is_refused_or_not_reached_is_not_proved() {
        let sandbox = sandbox().await;
        for trouble in [Trouble::status(403), Trouble::status(500), Trouble::Reset] {
            sandbox.fault(Fault::before(Operation::StoreEnvelope, trouble.clone()).once());
            let proof = prove(&sentry(&sandbox.sentry_dsn(), &Clock::default(), false)).await;
            assert!(!proof.unwrap().is_confirmed, "{trouble:?}");
        }
        let nobody = sentry("http://public@127.0.0.1:1/42", &Clock::default(), false);
        assert!(!prove(&nobody).await.unwrap().is_confirmed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_is_waited_for_no_longer_than_three_seconds() {
        let sentry = sentry("http://public@127.0.0.1:1/42", &Clock::default(), false);
        let began = tokio::time::Instant::now();
        assert!(!sentry.prove(report("nobody sends it")).await.unwrap().is_confirmed);
        assert_eq!(began.elapsed().as_secs(), 3);
    }

    #[tokio::test]
    async fn without_a_dsn_or_in_a_passive_process_nothing_is_sent() {
        let silent = sentry("", &Clock::default(), false);
        assert!(!silent.is_configured());
        assert_eq!(silent.prove(report("x")).await, None);
        assert!(silent.flush(PATIENCE).await);

        let sandbox = sandbox().await;
        let passive = sentry(&sandbox.sentry_dsn(), &Clock::default(), true);
        assert!(passive.is_configured());
        assert!(!passive.prove(report("x")).await.unwrap().is_confirmed);
        assert!(passive.flush(PATIENCE).await);
        assert_eq!(asked(&sandbox), 0);
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_the_flush_sends_the_rest() {
        let sandbox = sandbox().await;
        let sentry = sentry(&sandbox.sentry_dsn(), &Clock::default(), false);
        for number in 0..QUEUE_LENGTH + 7 {
            sentry.report(report(&format!("report {number}")));
        }
        assert!(!sentry.prove(report("one too many")).await.unwrap().is_confirmed);
        assert!(sentry.flush(Duration::from_mins(1)).await);
        let ledger = sandbox.ledger();
        let messages = ledger.sentry_events().map(|event| event.payload["message"].clone());
        let expected = (0..QUEUE_LENGTH).map(|number| format!("report {number}"));
        assert!(messages.eq(expected));
    }

    #[tokio::test]
    async fn a_flush_gives_up_when_its_time_is_over() {
        let sandbox = sandbox().await;
        let sentry = sentry(&sandbox.sentry_dsn(), &Clock::default(), false);
        sandbox.freeze();
        sentry.report(report("x"));
        assert!(!sentry.flush(Duration::from_millis(50)).await);
    }

    #[tokio::test]
    async fn told_to_slow_down_it_keeps_quiet_for_as_long_as_asked() {
        for (retry_after, quiet) in [(Some(30), 30), (None, 60), (Some(u64::MAX), 3600)] {
            let sandbox = sandbox().await;
            let clock = Clock::held("2026-01-02T03:04:05Z".parse().unwrap());
            let sentry = sentry(&sandbox.sentry_dsn(), &clock, false);
            let slow_down = Trouble::Status { code: 429, retry_after };
            sandbox.fault(Fault::before(Operation::StoreEnvelope, slow_down).once());
            assert!(!prove(&sentry).await.unwrap().is_confirmed);
            clock.advance(Duration::from_millis(quiet * 1000 - 1));
            assert!(!prove(&sentry).await.unwrap().is_confirmed);
            assert_eq!(asked(&sandbox), 1);
            clock.advance(Duration::from_millis(1));
            assert!(prove(&sentry).await.unwrap().is_confirmed);
        }
    }

    #[test]
    fn the_last_gate_drops_who_and_where_and_cleans_every_text() {
        let mail = || Some("sara@example.com".to_owned());
        let dirty = Event {
            server_name: Some("db-1".into()),
            user: Some(User { email: mail(), ..User::default() }),
            request: Some(Request { data: mail(), ..Request::default() }),
            breadcrumbs: vec![sentry::Breadcrumb { message: mail(), ..Default::default() }].into(),
            message: mail(),
            culprit: mail(),
            transaction: mail(),
            exception: vec![Exception { value: mail(), ..Exception::default() }].into(),
            extra: [("list".to_owned(), vec!["sara@example.com"].into())].into(),
            tags: [("mail", "sara@example.com"), ("request_id", "a1b2c3d4e5f6a1b2c3d4e5f6")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Event::default()
        };
        let json = serde_json::to_string(&cleaned(dirty)).unwrap();
        assert!(!json.contains("sara") && !json.contains("db-1"), "{json}");
        assert_eq!(json.matches("[address]").count(), 6, "{json}");
        assert!(json.contains("a1b2c3d4e5f6a1b2c3d4e5f6"), "{json}");

        let long = Event { message: Some("x".repeat(10_000)), ..Event::default() };
        assert_eq!(cleaned(long).message.unwrap().len(), LONGEST_TEXT);
    }
}
