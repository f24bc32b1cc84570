//! The shared secret that Moyasar repeats in every webhook body, and how it is recognised.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::config::MoyasarConfig;

/// The secrets that are valid now: one, or two during a rotation. Without any, no webhook is ours.
#[derive(Clone)]
pub(crate) struct WebhookSecrets {
    digests: Vec<[u8; 32]>,
}

impl WebhookSecrets {
    /// The configured ones.
    pub fn new(config: &MoyasarConfig) -> Self {
        let secrets = [&config.webhook_secret, &config.webhook_secret_next];
        Self { digests: secrets.into_iter().flatten().map(digest).collect() }
    }

    /// Whether the token is one of ours. Takes as long for a near miss as for any other.
    pub fn recognises(&self, token: &SecretString) -> bool {
        let candidate = digest(token);
        let is_ours =
            self.digests.iter().fold(Choice::from(0), |found, ours| found | ours.ct_eq(&candidate));
        is_ours.into() && token.expose_secret().is_ascii()
    }
}

/// Digests have one length, so that comparing them says nothing about the secret's.
fn digest(secret: &SecretString) -> [u8; 32] {
    Sha256::digest(secret.expose_secret()).into()
}
