//! Whether the settings may be used together: everything that is wrong with them, at once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use super::Environment;
use super::fields::split;
use super::kinds::Kind;
use super::layers::Layers;
use super::secrets::{SHORTEST, is_placeholder, is_unusable_key};
use super::variables::VARIABLES;

/// Something that must be mended before the service starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The variable or the key of the setting, as the operator writes it.
    pub name: String,
    /// What is wrong and what would be right; never the value of a secret.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.name, self.detail)
    }
}

/// The secrets that we choose ourselves; those of a provider are as long as the provider likes.
const OUR_SECRETS: &[&str] = &[
    "auth.jwt_secret_key",
    "auth.jwt_secret_key_next",
    "auth.api_keys",
    "auth.admin_read_api_keys",
    "auth.admin_api_keys",
    "moyasar.webhook_secret",
    "moyasar.webhook_secret_next",
];

const SCOPES: &[&str] = &["auth.api_keys", "auth.admin_read_api_keys", "auth.admin_api_keys"];

const PROVIDERS: &[&str] = &["groq", "openai", "anthropic", "google"];

/// Adds to the problems what stops the start; answers what is only worth a warning.
pub(super) fn check(layers: &mut Layers) -> Vec<Problem> {
    let environment = layers.environment;
    if environment.is_strict() {
        nothing_is_missing(layers);
        secrets_are_secret(layers);
        no_checkout_is_ended_while_it_begins(layers);
    }
    if environment == Environment::Production && !layers.text("app.url").starts_with("https://") {
        layers.complain(layers.name("app.url"), "must be https in production");
    }
    if layers.text("auth.jwt_algorithm") != "HS256" {
        layers.complain(layers.name("auth.jwt_algorithm"), "must be HS256");
    }
    if layers.text("moyasar.secret_key").starts_with("pk_") {
        let detail = "is a publishable key; the secret one begins with sk_";
        layers.complain(layers.name("moyasar.secret_key"), detail);
    }
    rotations_have_two_keys(layers);
    keys_are_usable(layers);
    times_fit(layers);
    windows_hold_enough_calls(layers);
    warnings(layers)
}

fn nothing_is_missing(layers: &mut Layers) {
    for variable in VARIABLES.iter().filter(|variable| variable.is_required) {
        let is_told = layers.problems.iter().any(|problem| problem.name == variable.name);
        if layers.text(variable.key).trim().is_empty() && !is_told {
            let environment = layers.environment.name();
            layers.complain(variable.name, format!("is missing; {environment} needs it"));
        }
    }
}

fn secrets_are_secret(layers: &mut Layers) {
    for variable in VARIABLES.iter().filter(|variable| variable.kind.is_secret()) {
        let text = layers.text(variable.key).to_owned();
        let ours = OUR_SECRETS.contains(&variable.key);
        let is_list = variable.kind == Kind::SecretList;
        let parts: Vec<_> = if is_list { split(&text).collect() } else { vec![text.as_str()] };
        let detail = parts.into_iter().filter(|secret| !secret.is_empty()).find_map(|secret| {
            if is_placeholder(secret) {
                Some("holds a placeholder".to_owned())
            } else if ours && secret.len() < SHORTEST {
                Some(format!("is weak: it must have at least {SHORTEST} bytes"))
            } else {
                None
            }
        });
        if let Some(detail) = detail {
            layers.complain(variable.name, detail);
        }
    }
}

/// A request for an invoice that is still under way, also after its client was answered, must have
/// arrived before the provider is asked whether there is one. Tests may be in a hurry.
fn no_checkout_is_ended_while_it_begins(layers: &mut Layers) {
    let key = "checkout.resolve_after_secs";
    if layers.integer(key) < 60 {
        let environment = layers.environment.name();
        layers.complain(layers.name(key), format!("must be at least 60 in {environment}"));
    }
}

fn rotations_have_two_keys(layers: &mut Layers) {
    for key in ["auth.jwt_secret_key", "moyasar.webhook_secret"] {
        let next = format!("{key}_next");
        if !layers.text(&next).is_empty() && layers.text(&next) == layers.text(key) {
            let detail = format!("must differ from {}", layers.name(key));
            layers.complain(layers.name(&next), detail);
        }
    }
}

/// A key in two scopes would have whichever scope is looked up first.
fn keys_are_usable(layers: &mut Layers) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for scope in SCOPES {
        let text = layers.text(scope).to_owned();
        let mut details = Vec::new();
        for key in split(&text) {
            if is_unusable_key(key) {
                details
                    .push("holds a key that is not visible ASCII or reads like a JWT".to_owned());
            }
            match seen.get(key) {
                Some(other) if other != scope => {
                    details.push(format!("holds a key that is in {} too", layers.name(other)));
                }
                _ => drop(seen.insert(key.to_owned(), scope)),
            }
        }
        for detail in details {
            layers.complain(layers.name(scope), detail);
        }
    }
}

fn times_fit(layers: &mut Layers) {
    for (shorter, longer) in [
        ("http.drain_secs", "http.shutdown_secs"),
        ("moyasar.breaker.cooldown_secs", "moyasar.breaker.max_cooldown_secs"),
        ("posthog.breaker.cooldown_secs", "posthog.breaker.max_cooldown_secs"),
    ] {
        if layers.integer(shorter) > layers.integer(longer) {
            let detail = format!("must not be longer than {longer}");
            layers.complain(layers.name(shorter), detail);
        }
    }
}

/// Rates are judged from so many calls on: a window that never holds them judges nothing.
fn windows_hold_enough_calls(layers: &mut Layers) {
    for client in ["moyasar", "posthog"] {
        let window = format!("{client}.breaker.window_calls");
        let minimum = format!("{client}.breaker.minimum_calls");
        if (1..layers.integer(&minimum)).contains(&layers.integer(&window)) {
            layers.complain(layers.name(&window), format!("must be 0, or at least {minimum}"));
        }
    }
}

fn warnings(layers: &Layers) -> Vec<Problem> {
    let is_production = layers.environment == Environment::Production;
    let mut warnings = Vec::new();
    let mut warn = |key: &str, detail: String| {
        warnings.push(Problem { name: layers.name(key), detail });
    };
    if is_production && !layers.is_on("flags.webhook_verify_all") {
        let detail = "false is refused in production: webhooks stay verified";
        warn("flags.webhook_verify_all", detail.to_owned());
    }
    let moyasar_key = layers.text("moyasar.secret_key");
    if is_production && moyasar_key.starts_with("sk_test_") {
        warn("moyasar.secret_key", "is a test key: nobody can pay real money".to_owned());
    }
    if !is_production && moyasar_key.starts_with("sk_live_") {
        warn("moyasar.secret_key", "is a live key: this takes real money".to_owned());
    }
    if is_production && split(layers.text("http.cors_origins")).any(|origin| origin == "*") {
        warn(
            "http.cors_origins",
            "lets every website call us from its visitors' browsers".to_owned(),
        );
    }
    let metrics: Result<SocketAddr, _> = layers.text("app.metrics_addr").parse();
    if metrics.is_ok_and(|address| !address.ip().is_loopback()) {
        let detail = "is not loopback: whoever reaches it reads the metrics without a key";
        warn("app.metrics_addr", detail.to_owned());
    }
    if !layers.text("alerts.email").is_empty() && layers.text("alerts.webhook_url").is_empty() {
        let detail = "is mailed nothing yet: nobody is called unless ALERT_WEBHOOK_URL is set";
        warn("alerts.email", detail.to_owned());
    }
    let unknown: Vec<_> = split(layers.text("llm.provider_priority"))
        .filter(|provider| !PROVIDERS.contains(provider))
        .collect();
    if !unknown.is_empty() {
        let detail = format!("unknown, not called: {}", unknown.join(", "));
        warn("llm.provider_priority", detail);
    }
    warnings
}
