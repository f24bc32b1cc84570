//! The rate limits: which request counts on whose budget, and what an answer says about it.
//!
//! Counted in this process and nowhere else: no store is asked on a request's way in.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::budget::{Budgets, Standing, WINDOW};
use super::client::Client;
use super::context::RequestContext;
use crate::clock::Clock;
use crate::flows::checkout::guard_email::{self, TooMany};
use crate::http::problem::Problem;
use crate::http::settings::Rates;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Routes that are never counted: monitors ask them, and they ask nobody.
const HEALTH: [&str; 11] = [
    "/",
    "/health",
    "/healthz",
    "/live",
    "/ready",
    "/api/v1/public/health",
    "/api/v1/health",
    "/api/v1/status",
    "/api/v1/ready",
    "/health/deep",
    "/metrics",
];

/// Routes whose handler counts: once it knows whether a delivery is genuine, or because a prompt
/// beyond its budget is heard all the same.
const WEBHOOKS: [&str; 3] =
    ["/api/v1/webhooks/moyasar", "/api/v1/pricing/webhooks/moyasar", PROMPTS];

/// A route that anybody may ask, and behind which we may ask the provider.
const PROMPTS: &str = "/api/v1/webhooks/moyasar/invoices/{token}";

const CHECKOUT: &str = "/api/v1/pricing/checkout";

/// How many forgeries of one client may be kept.
const KEPT_PER_MINUTE: u32 = 6;

/// Whether a route answers 429 to who asks it too often.
pub fn is_limited(route: &str) -> bool {
    !is_health(route) && route != PROMPTS
}

/// Whether a route belongs to the health probes.
pub fn is_health(route: &str) -> bool {
    HEALTH.contains(&route)
}

/// Whose budget a request counts on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Policy {
    /// A caller that we recognised.
    Key,
    /// Everybody else, by address.
    Address,
    /// Purchases, by address.
    Checkout,
    /// Genuine webhooks, all together.
    Webhook,
    /// What else is sent to webhooks, by address: forgeries, and prompts that promise nothing.
    Prompt,
}

impl Policy {
    const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Address => "address",
            Self::Checkout => "checkout",
            Self::Webhook => "webhook",
            Self::Prompt => "webhook-refused",
        }
    }
}

/// What one request was counted on, and what is left of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    policy: &'static str,
    window: Duration,
    standing: Standing,
}

/// Every budget of the process.
#[derive(Debug)]
pub struct RateLimits {
    key: Budgets<Arc<str>>,
    address: Budgets<Client>,
    checkout: Budgets<Client>,
    webhook: Budgets<()>,
    prompt: Budgets<Client>,
    /// Forgeries that are kept.
    kept: Budgets<Client>,
    senders: RandomState,
    is_on: bool,
    clock: Clock,
}

impl RateLimits {
    /// Full budgets of these sizes.
    pub fn new(rates: &Rates, clock: Clock) -> Self {
        let now = clock.monotonic();
        Self {
            key: Budgets::new(rates.key_per_minute, now),
            address: Budgets::new(rates.address_per_minute, now),
            checkout: Budgets::new(rates.checkout_per_minute, now),
            webhook: Budgets::new(rates.webhook_per_minute, now),
            prompt: Budgets::new(rates.webhook_per_minute, now),
            kept: Budgets::new(KEPT_PER_MINUTE, now),
            senders: RandomState::new(),
            is_on: rates.are_on,
            clock,
        }
    }

    /// Counts a request before its handler sees it.
    pub(super) fn admit(
        &self,
        context: &RequestContext,
        method: &Method,
        route: &str,
    ) -> Result<(), Problem> {
        let is_post = *method == Method::POST;
        let policy = match route {
            _ if *method == Method::OPTIONS || is_health(route) => return Ok(()),
            _ if is_post && WEBHOOKS.contains(&route) => return Ok(()),
            CHECKOUT if is_post => Policy::Checkout,
            _ if context.caller().is_some() => Policy::Key,
            _ => Policy::Address,
        };
        self.count(context, policy)
    }

    /// Counts a webhook that carries our secret. Forgeries cannot use this budget up.
    pub fn admit_genuine_webhook(&self, context: &RequestContext) -> Result<(), Problem> {
        self.count(context, Policy::Webhook)
    }

    /// Counts a webhook that was refused, on whoever sent it.
    pub fn admit_refused_webhook(&self, context: &RequestContext) -> Result<(), Problem> {
        self.count(context, Policy::Prompt)
    }

    /// Whether a prompt may still make us look. Counted on whoever sent it, whose answer stays 200.
    pub fn may_prompt(&self, context: &RequestContext) -> bool {
        self.count(context, Policy::Prompt).is_ok()
    }

    fn count(&self, context: &RequestContext, policy: Policy) -> Result<(), Problem> {
        if !self.is_on {
            return Ok(());
        }
        let (now, client) = (self.clock.monotonic(), context.client());
        let standing = match (policy, context.caller()) {
            (Policy::Key, Some(caller)) => self.key.take(Arc::clone(&caller.name), now),
            (Policy::Key, None) | (Policy::Address, _) => self.address.take(client, now),
            (Policy::Checkout, _) => self.checkout.take(client, now),
            (Policy::Webhook, _) => self.webhook.take((), now),
            (Policy::Prompt, _) => self.prompt.take(client, now),
        };
        context.count(Counted { policy: policy.name(), window: WINDOW, standing });
        let Some(retry_after) = standing.refused_for else { return Ok(()) };
        count_refusal(policy.name());
        Err(Problem::RateLimited { retry_after })
    }

    /// Whether a forgery may be kept: a few of each client, also where no limit is in force. Tells as
    /// whose: a number that means nothing to anybody else, and nothing after a restart.
    pub fn may_keep(&self, context: &RequestContext) -> Option<i64> {
        let client = context.client();
        let standing = self.kept.take(client, self.clock.monotonic());
        standing.refused_for.is_none().then(|| self.senders.hash_one(client).cast_signed())
    }
}

fn count_refusal(policy: &'static str) {
    metrics::counter!("dealix_rate_limited_total", "policy" => policy).increment(1);
}

impl Counted {
    /// The guard of one e-mail address refused; it counts for itself.
    pub fn by_email(too_many: &TooMany) -> Self {
        let policy = "email";
        count_refusal(policy);
        let TooMany { limit, retry_after } = *too_many;
        let refused_for = Some(retry_after);
        let standing = Standing { limit, remaining: 0, full_in: retry_after, refused_for };
        Self { policy, window: guard_email::WINDOW, standing }
    }

    /// Says what is left, as draft-ietf-httpapi-ratelimit-headers has it.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let Self { policy, window, standing } = self;
        let (limit, remaining) = (standing.limit, standing.remaining);
        let (window, full_in) = (whole_secs(*window), whole_secs(standing.full_in));
        let texts = [
            (RATE_LIMIT_POLICY, format!("\"{policy}\";q={limit};w={window}")),
            (RATE_LIMIT, format!("\"{policy}\";r={remaining};t={full_in}")),
        ];
        for (header, text) in texts {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(header, value);
            }
        }
    }
}

/// Rounded up, so that nobody who obeys comes too early.
fn whole_secs(time: Duration) -> u128 {
    time.as_millis().div_ceil(1000)
}
