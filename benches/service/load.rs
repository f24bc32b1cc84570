//! Open-loop load: everything happens at its intended time, whether or not what came before has been
//! answered, and latency counts from the intended time. A slow service cannot slow its load.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use dealix_sandbox::cards;
use reqwest::Client;
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bed::Bed;

/// One question and how it was answered.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// None without an answer.
    pub status: Option<u16>,
    pub latency: Duration,
}

/// What became of many questions of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Answers {
    pub count: usize,
    /// How many were answered with each status; `none` without an answer.
    pub by_status: BTreeMap<String, usize>,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Answers {
    pub fn of(mut samples: Vec<Sample>) -> Self {
        samples.sort_by_key(|sample| sample.latency);
        let mut by_status = BTreeMap::new();
        for sample in &samples {
            let status = sample.status.map_or_else(|| "none".to_owned(), |code| code.to_string());
            *by_status.entry(status).or_default() += 1;
        }
        let at = |permille: usize| {
            let place = (samples.len() * permille / 1000).min(samples.len().saturating_sub(1));
            samples.get(place).map_or(0.0, |sample| sample.latency.as_secs_f64() * 1000.0)
        };
        Self { count: samples.len(), p50_ms: at(500), p99_ms: at(990), max_ms: at(1000), by_status }
    }

    /// How many had that status.
    pub fn with(&self, status: &str) -> usize {
        self.by_status.get(status).copied().unwrap_or_default()
    }
}

/// Runs `act` at each intended time.
async fn at_rate(per_second: u32, count: usize, mut act: impl AsyncFnMut(usize, Instant)) {
    let (start, gap) = (Instant::now(), Duration::from_secs(1) / per_second);
    for number in 0..count {
        let intended = start + gap * u32::try_from(number).unwrap_or(u32::MAX);
        tokio::time::sleep_until(intended).await;
        act(number, intended).await;
    }
}

/// Pays the invoices at that rate: for each, the provider sends its event at once, and again by its
/// schedule until it gets a 2xx. Gives when each payment was meant to be made.
pub async fn pay(
    bed: &Bed,
    invoices: &[String],
    per_second: u32,
) -> anyhow::Result<HashMap<String, DateTime<Utc>>> {
    let (start, began) = (now(), Instant::now());
    let mut intended = HashMap::new();
    let mut refused = None;
    at_rate(per_second, invoices.len(), async |number, at| {
        let invoice = invoices.get(number).map_or("", String::as_str);
        match bed.sandbox.pay(invoice, cards::MADA_APPROVED).await {
            Ok(payment) => drop(intended.insert(payment.id, start + (at - began))),
            Err(error) => refused = Some(error),
        }
    })
    .await;
    refused.map_or(Ok(intended), Err)
}

/// How the provider's deliveries were answered: first attempts from their intended time, retries from
/// the moment they were sent.
pub fn deliveries(bed: &Bed, intended: &HashMap<String, DateTime<Utc>>) -> Vec<Sample> {
    let ledger = bed.sandbox.ledger();
    let mut samples = Vec::new();
    for delivery in ledger.webhooks() {
        let body: Value = serde_json::from_str(delivery.body()).unwrap_or_default();
        let meant = body
            .pointer("/data/id")
            .and_then(Value::as_str)
            .and_then(|payment| intended.get(payment));
        for attempt in &delivery.attempts {
            let late = match (attempt.retry_number, meant) {
                (1, Some(meant)) => (attempt.created_at - *meant).to_std().unwrap_or_default(),
                _ => Duration::ZERO,
            };
            samples.push(Sample { status: attempt.response_code, latency: late + attempt.took });
        }
    }
    samples
}

/// Asks a path five times a second until `span` is over.
pub async fn probe(client: Client, url: String, span: Duration) -> Vec<Sample> {
    let mut asking = JoinSet::new();
    at_rate(5, usize::try_from(span.as_millis() / 200).unwrap_or_default(), async |_, at| {
        let request = client.get(&url);
        asking.spawn(async move {
            let status = request.send().await.ok().map(|answer| answer.status().as_u16());
            Sample { status, latency: at.elapsed() }
        });
    })
    .await;
    asking.join_all().await
}

/// Posts a body at that rate for that long.
pub async fn post(
    client: Client,
    url: String,
    body: &'static str,
    per_second: u32,
    span: Duration,
) -> Vec<Sample> {
    let count = span.as_secs() * u64::from(per_second);
    let mut asking = JoinSet::new();
    at_rate(per_second, usize::try_from(count).unwrap_or_default(), async |_, at| {
        let request = client.post(&url).body(body);
        asking.spawn(async move {
            let status = request.send().await.ok().map(|answer| answer.status().as_u16());
            Sample { status, latency: at.elapsed() }
        });
    })
    .await;
    asking.join_all().await
}

#[expect(clippy::disallowed_methods, reason = "the sandbox stamps its attempts with the real time")]
fn now() -> DateTime<Utc> {
    Utc::now()
}
