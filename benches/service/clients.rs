//! HTTP clients of the service: who buys, and who watches its health.

use std::time::Duration;

use anyhow::Context;
use futures_util::{StreamExt, stream};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::bed::Bed;

/// Checkouts under way at the same time.
const AT_ONCE: usize = 16;

/// A client that waits longer than any answer may take.
#[expect(clippy::disallowed_methods, reason = "not a client of the service's: one of its clients")]
pub fn client() -> anyhow::Result<Client> {
    Ok(Client::builder().timeout(Duration::from_secs(10)).build()?)
}

/// Opens that many checkouts, through the front door, and gives their invoices.
pub async fn open_checkouts(bed: &Bed, count: usize) -> anyhow::Result<Vec<String>> {
    let (client, url) = (client()?, format!("{}/api/v1/pricing/checkout", bed.url));
    let orders = (0..count).map(|number| {
        let order = json!({
            "plan_id": "starter",
            "customer_name": "Bench",
            "customer_email": format!("buyer-{number}@example.com"),
        });
        let request = client.post(&url).json(&order);
        async move {
            let answer = request.send().await?;
            let status = answer.status();
            let answer: Value = answer.json().await?;
            anyhow::ensure!(status == StatusCode::OK, "no checkout: {status} {answer}");
            let invoice = answer.get("invoice_id").and_then(Value::as_str);
            Ok(invoice.context("a checkout without an invoice")?.to_owned())
        }
    });
    let opened: Vec<_> = stream::iter(orders).buffer_unordered(AT_ONCE).collect().await;
    opened.into_iter().collect()
}
