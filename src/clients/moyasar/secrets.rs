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
        Self::of([&config.webhook_secret, &config.webhook_secret_next])
    }

    fn of(secrets: [&Option<SecretString>; 2]) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(current: Option<&str>, next: Option<&str>) -> WebhookSecrets {
        WebhookSecrets::of([&current.map(SecretString::from), &next.map(SecretString::from)])
    }

    #[test]
    fn the_current_and_the_next_secret_are_recognised_and_nothing_else() {
        let both = secrets(Some("current-secret"), Some("next-secret"));
        for ours in ["current-secret", "next-secret"] {
            assert!(both.recognises(&ours.into()));
        }
        for foreign in ["", "current-secre", "current-secret ", "Current-secret", "next-secre\0"] {
            assert!(!both.recognises(&foreign.into()), "{foreign}");
        }
        let one = secrets(Some("current-secret"), None);
        assert!(one.recognises(&"current-secret".into()));
        assert!(!one.recognises(&"next-secret".into()));
        assert!(secrets(None, Some("next-secret")).recognises(&"next-secret".into()));
        let same = secrets(Some("current-secret"), Some("current-secret"));
        assert!(same.recognises(&"current-secret".into()));
    }

    #[test]
    fn without_a_secret_nothing_is_recognised() {
        assert!(!secrets(None, None).recognises(&"".into()));
        assert!(!secrets(None, None).recognises(&"anything".into()));
    }

    #[test]
    fn a_token_that_is_not_ascii_is_not_recognised() {
        assert!(!secrets(Some("سر"), None).recognises(&"سر".into()));
    }
}
