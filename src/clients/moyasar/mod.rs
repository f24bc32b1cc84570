//! The payment provider: its client. What it sends us unasked is read in [`envelope`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::time::Instant;
use url::Url;

use self::types::InvoicePage;
use crate::clients::breaker::Breaker;
use crate::clients::{ClientError, Flaw, exchange, http_client};
use crate::clock::Clock;
use crate::config::MoyasarConfig;

pub mod envelope;
pub mod secrets;

mod types;

pub(crate) use self::types::{Invoice, NewInvoice, Payment};

/// The name of its breaker.
pub(crate) const CLIENT: &str = "moyasar";

/// Pages of one list that are read at most, whatever the provider says.
const MOST_PAGES: usize = 5;

/// Whose money is moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Nobody's.
    Test,
    /// Customers'.
    Live,
}

/// Asks Moyasar for invoices and payments, each call behind its breaker.
#[derive(Clone, Debug)]
pub(crate) struct Moyasar {
    http: reqwest::Client,
    root: Url,
    secret_key: SecretString,
    breaker: Arc<Breaker>,
    books: Books,
    clock: Clock,
    /// How long one call may take.
    patience: Duration,
}

/// What a search found.
#[derive(Debug)]
pub(crate) struct InvoiceList {
    pub invoices: Vec<Invoice>,
    /// Whether that is all there is: what is not in a list that was cut short may be there all the same.
    pub is_complete: bool,
}

/// Whether the breaker learns from a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Books {
    Counted,
    Uncounted,
}

impl Moyasar {
    /// A client for the configured account; none without a key.
    pub fn new(
        config: &MoyasarConfig,
        breaker: Arc<Breaker>,
        clock: Clock,
    ) -> anyhow::Result<Option<Self>> {
        let Some(secret_key) = config.secret_key.clone() else { return Ok(None) };
        let patience = Duration::from_secs(config.timeout_secs);
        let http = http_client(patience).context("no HTTP client for Moyasar")?;
        let (root, books) = (config.base_url.clone(), Books::Counted);
        Ok(Some(Self { http, root, secret_key, breaker, books, clock, patience }))
    }

    /// The same, for looks that may change nothing: its breaker does not learn from them, and lets them
    /// through only while it is closed.
    #[must_use]
    pub fn uncounted(&self) -> Self {
        Self { books: Books::Uncounted, ..self.clone() }
    }

    /// The mode of the key; it decides everything at Moyasar.
    pub fn mode(&self) -> Mode {
        if self.secret_key.expose_secret().starts_with("sk_live_") {
            Mode::Live
        } else {
            Mode::Test
        }
    }

    /// Creates a hosted payment page. Not idempotent: after an error that
    /// [`ClientError::is_uncertain`], look for it by its metadata first.
    pub async fn create_invoice(&self, invoice: &NewInvoice<'_>) -> Result<Invoice, ClientError> {
        self.ask(self.request(Method::POST, &["invoices"]).json(invoice)).await
    }

    /// That invoice and no other, with every attempt to pay it.
    pub async fn fetch_invoice(&self, id: &str) -> Result<Invoice, ClientError> {
        let invoice: Invoice = self.ask(self.request(Method::GET, &["invoices", id])).await?;
        if invoice.id == id { Ok(invoice) } else { Err(not_asked()) }
    }

    /// The invoices with that metadata, without their payments. Pages have 40 of them; at most
    /// [`MOST_PAGES`] are read, all of them in the time of one call.
    pub async fn list_invoices_by_metadata(
        &self,
        key: &str,
        value: &str,
    ) -> Result<InvoiceList, ClientError> {
        let (began, mut next_page) = (Instant::now(), None);
        let mut found = InvoiceList { invoices: Vec::new(), is_complete: false };
        for _ in 0..MOST_PAGES {
            let left = self.patience.saturating_sub(began.elapsed());
            // A page that is not answered in a moment says nothing about the provider.
            if left < self.patience / 2 {
                break;
            }
            let request = self.request(Method::GET, &["invoices"]).timeout(left);
            let request = request.query(&[(format!("metadata[{key}]"), value)]);
            let request = match next_page {
                Some(number) => request.query(&[("page", number)]),
                None => request,
            };
            let page: InvoicePage = self.ask(request).await?;
            next_page = page.next();
            found.invoices.extend(page.invoices);
            if next_page.is_none() {
                found.is_complete = true;
                break;
            }
        }
        Ok(found)
    }

    /// Makes the invoice unpayable. Moyasar refuses it (400) for one that is canceled or expired.
    pub async fn cancel_invoice(&self, id: &str) -> Result<Invoice, ClientError> {
        let request = self.request(Method::PUT, &["invoices", id, "cancel"]);
        // Said aloud, because some proxies refuse a PUT that does not say how long it is.
        self.ask(request.header(CONTENT_LENGTH, 0)).await
    }

    /// That payment and no other, as it is now.
    pub async fn fetch_payment(&self, id: &str) -> Result<Payment, ClientError> {
        let payment: Payment = self.ask(self.request(Method::GET, &["payments", id])).await?;
        if payment.id == id { Ok(payment) } else { Err(not_asked()) }
    }

    /// A read that costs nothing and changes nothing, to see whether Moyasar answers and knows us.
    pub async fn probe(&self) -> Result<(), ClientError> {
        let request = self.request(Method::GET, &["webhooks", "available_events"]);
        self.ask::<IgnoredAny>(request).await.map(|_| ())
    }

    fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        self.http
            .request(method, exchange::endpoint(&self.root, segments))
            .basic_auth(self.secret_key.expose_secret(), Some(""))
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let exchange = async {
            let response = exchange::send(CLIENT, &self.clock, request).await?;
            exchange::read_json(CLIENT, response).await
        };
        match self.books {
            Books::Counted => self.breaker.call(exchange).await,
            Books::Uncounted => self.breaker.call_uncounted(exchange).await,
        }
    }
}

/// Money is moved by what is read here: an answer about another object is none.
fn not_asked() -> ClientError {
    ClientError::Unreadable { client: CLIENT, flaw: Flaw::NotAsked }
}

#[cfg(test)]
mod tests;
