//! Who may ask: the keys we hold (as digests), the tokens we sign, and what each of them allows.
//!
//! Reads no header and writes no answer: `http::auth` does, and `commands` issues tokens.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::config::AuthConfig;

const ISSUER: &str = "https://api.dealix.me";
const AUDIENCE: &str = "dealix-api";
/// How far the clocks of two machines may disagree, in seconds.
const LEEWAY_SECS: i64 = 30;

/// What a caller may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Scope {
    /// Our own front ends: checkout, later the language models and the CRM.
    #[serde(rename = "service")]
    Service,
    /// Look at everything, change nothing.
    #[serde(rename = "admin:read")]
    AdminRead,
    /// Everything.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// Every scope, weakest first.
    pub const ALL: [Self; 3] = [Self::Service, Self::AdminRead, Self::Admin];

    /// The name in tokens, in the documentation and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::AdminRead => "admin:read",
            Self::Admin => "admin",
        }
    }

    /// Whether a caller of this scope may enter where `needed` is asked for.
    pub fn allows(self, needed: Self) -> bool {
        self == needed || self == Self::Admin
    }
}

/// The text names no scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a scope is one of service, admin:read and admin")]
pub struct NoScope;

impl FromStr for Scope {
    type Err = NoScope;

    fn from_str(text: &str) -> Result<Self, NoScope> {
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or(NoScope)
    }
}

/// Somebody we recognised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Tells callers apart in logs and audit rows; never reveals a key.
    pub name: Arc<str>,
    /// What they may do.
    pub scope: Scope,
}

/// Whoever runs this very process, and gives it requests by hand: a command, while no service runs.
/// Nothing on the wire can say so.
#[derive(Clone, Debug)]
pub struct Insider(pub Caller);

impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// Every key and token secret that opens something.
#[derive(Clone)]
pub struct Access {
    keys: Arc<[HeldKey]>,
    secrets: Arc<[TokenSecret]>,
}

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Access({} keys, {} token secrets)", self.keys.len(), self.secrets.len())
    }
}

/// A key as we hold it: enough to recognise it, too little to use it.
struct HeldKey {
    digest: [u8; 32],
    caller: Caller,
}

/// A secret that tokens are signed with.
struct TokenSecret {
    kid: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// What a token says. Every claim is required.
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    scope: Scope,
    jti: Uuid,
    iat: i64,
    nbf: i64,
    exp: i64,
}

impl Access {
    /// Takes the digests of all keys; the texts are not kept.
    pub fn new(config: &AuthConfig) -> Self {
        let of = |scope, keys: &[SecretString]| {
            keys.iter().map(|key| HeldKey::new(key.expose_secret(), scope)).collect::<Vec<_>>()
        };
        let keys = [
            of(Scope::Service, &config.api_keys),
            of(Scope::AdminRead, &config.admin_read_api_keys),
            of(Scope::Admin, &config.admin_api_keys),
        ];
        // The first secret signs; the other one is only recognised while it is being introduced.
        let secrets = std::iter::once(&config.jwt_secret_key).chain(&config.jwt_secret_key_next);
        let secrets = secrets.map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty());
        Self {
            keys: keys.into_iter().flatten().collect(),
            secrets: secrets.map(TokenSecret::new).collect(),
        }
    }

    /// Who presents this key. Every key is compared, each in constant time, so that the time taken
    /// says nothing about any of them.
    pub fn recognise_key(&self, key: &str) -> Option<Caller> {
        let digest = Sha256::digest(key);
        let mut found = None;
        for held in &*self.keys {
            if bool::from(held.digest.as_slice().ct_eq(digest.as_slice())) {
                found = Some(&held.caller);
            }
        }
        found.cloned()
    }

    /// Who presents this token, if it was signed by us and is valid at `now`.
    pub fn recognise_token(&self, token: &str, now: DateTime<Utc>) -> Option<Caller> {
        let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
        let secret = self.secrets.iter().find(|secret| secret.kid == kid)?;
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        // The crate would ask the system's clock; ours is asked below.
        rules.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &secret.decoding, &rules).ok()?.claims;
        let now = now.timestamp();
        let is_current = now < claims.exp.saturating_add(LEEWAY_SECS)
            && now >= claims.nbf.saturating_sub(LEEWAY_SECS);
        let name = format!("token:{}", claims.sub).into();
        is_current.then_some(Caller { name, scope: claims.scope })
    }

    /// Signs a token for `subject`, valid from `now` for `ttl`.
    pub fn issue_token(
        &self,
        subject: &str,
        scope: Scope,
        ttl: Duration,
        now: DateTime<Utc>,
    ) -> anyhow::Result<String> {
        let secret = self.secrets.first().context("JWT_SECRET_KEY is not set")?;
        let issued_at = now.timestamp();
        let ttl_secs = i64::try_from(ttl.as_secs()).context("the lifetime is too long")?;
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: subject.to_owned(),
            scope,
            jti: Uuid::now_v7(),
            iat: issued_at,
            nbf: issued_at,
            exp: issued_at.checked_add(ttl_secs).context("the lifetime is too long")?,
        };
        let header = Header { kid: Some(secret.kid.clone()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &secret.encoding).context("signing the token failed")
    }
}

impl HeldKey {
    fn new(key: &str, scope: Scope) -> Self {
        let digest = Sha256::digest(key).into();
        let name = format!("key:{}", fingerprint(key, 8)).into();
        Self { digest, caller: Caller { name, scope } }
    }
}

impl TokenSecret {
    fn new(secret: &str) -> Self {
        Self {
            kid: fingerprint(secret, 16),
            encoding: EncodingKey::from_secret(secret.as_bytes()),
            decoding: DecodingKey::from_secret(secret.as_bytes()),
        }
    }
}

/// The start of the digest in hexadecimal: tells secrets apart and gives none away.
fn fingerprint(secret: &str, digits: usize) -> String {
    let digest: [u8; 32] = Sha256::digest(secret).into();
    let start = digest.first_chunk().map_or(0, |start| u64::from_be_bytes(*start));
    let mut text = format!("{start:016x}");
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-02T03:04:05Z";

    fn access(current: &str, next: Option<&str>) -> Access {
        Access::new(&AuthConfig {
            jwt_secret_key: current.into(),
            jwt_secret_key_next: next.map(SecretString::from),
            jwt_algorithm: "HS256".to_owned(),
            api_keys: vec!["service-1".into(), "service-2".into()],
            admin_read_api_keys: vec!["reader".into()],
            admin_api_keys: vec!["admin".into()],
        })
    }

    fn issue(access: &Access, ttl_secs: u64) -> String {
        let ttl = Duration::from_secs(ttl_secs);
        access.issue_token("operator", Scope::Admin, ttl, NOW.parse().unwrap()).unwrap()
    }

    fn at(offset_secs: i64) -> DateTime<Utc> {
        NOW.parse::<DateTime<Utc>>().unwrap() + chrono::Duration::seconds(offset_secs)
    }

    /// The same token with one claim or header field changed, signed again with `secret`.
    fn forged(secret: &str, change: impl FnOnce(&mut Header, &mut serde_json::Value)) -> String {
        let now = at(0).timestamp();
        let mut claims = serde_json::json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "operator", "scope": "admin",
            "jti": Uuid::nil(), "iat": now, "nbf": now, "exp": now + 3600,
        });
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(fingerprint(secret, 16));
        change(&mut header, &mut claims);
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }

    #[test]
    fn each_of_several_keys_opens_its_scope_and_is_named_without_being_shown() {
        let access = access("secret", None);
        let scope = |key| access.recognise_key(key).map(|caller| caller.scope);
        assert_eq!(scope("service-1"), Some(Scope::Service));
        assert_eq!(scope("service-2"), Some(Scope::Service));
        assert_eq!(scope("reader"), Some(Scope::AdminRead));
        assert_eq!(scope("admin"), Some(Scope::Admin));
        assert_eq!(scope("service-3"), None);
        assert_eq!(scope(""), None);
        let name = access.recognise_key("admin").unwrap().to_string();
        assert_eq!(name, "key:8c6976e5");
    }

    #[test]
    fn admin_allows_everything_and_the_others_only_themselves() {
        for held in Scope::ALL {
            for needed in Scope::ALL {
                assert_eq!(held.allows(needed), held == Scope::Admin || held == needed);
            }
            assert_eq!(held.name().parse(), Ok(held));
        }
    }

    #[test]
    fn a_scope_is_written_in_a_token_as_it_is_named() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
        }
        assert_eq!("root".parse::<Scope>(), Err(NoScope));
    }

    #[test]
    fn a_token_is_valid_until_it_expires_give_or_take_the_leeway() {
        let access = access("secret", None);
        let token = issue(&access, 60);
        let is_valid = |offset| access.recognise_token(&token, at(offset)).is_some();
        assert!(is_valid(0) && is_valid(59) && is_valid(89));
        assert!(!is_valid(90) && !is_valid(3600));
        assert!(is_valid(-30) && !is_valid(-31));
        let caller = access.recognise_token(&token, at(0)).unwrap();
        assert_eq!((&*caller.name, caller.scope), ("token:operator", Scope::Admin));
    }

    #[test]
    fn a_token_outlives_the_rotation_of_its_secret() {
        let (before, during, after) =
            (access("old", None), access("old", Some("new")), access("new", None));
        let old = issue(&before, 3600);
        assert!(during.recognise_token(&old, at(0)).is_some());
        assert!(after.recognise_token(&old, at(0)).is_none());
        let new = issue(&after, 3600);
        assert!(during.recognise_token(&new, at(0)).is_some());
        assert!(before.recognise_token(&new, at(0)).is_none());
    }

    #[test]
    fn a_token_that_is_wrong_in_any_one_way_is_refused() {
        let access = access("secret", None);
        let is_valid = |token: &str| access.recognise_token(token, at(0)).is_some();
        assert!(is_valid(&forged("secret", |_, _| ())));
        assert!(!is_valid(&forged("other", |_, _| ())));
        assert!(!is_valid(&forged("other", |header, _| {
            header.kid = Some(fingerprint("secret", 16));
        })));
        assert!(!is_valid(&forged("secret", |header, _| header.kid = None)));
        assert!(!is_valid(&forged("secret", |header, _| header.kid = Some("other".to_owned()))));
        assert!(!is_valid(&forged("secret", |header, _| header.alg = Algorithm::HS384)));
        for claim in ["iss", "aud", "sub", "scope", "nbf", "exp"] {
            assert!(!is_valid(&forged("secret", |_, claims| {
                claims.as_object_mut().unwrap().remove(claim);
            })));
        }
        for (claim, value) in [("iss", "someone"), ("aud", "somewhere"), ("scope", "root")] {
            assert!(!is_valid(&forged("secret", |_, claims| claims[claim] = value.into())));
        }
        assert!(!is_valid("a.b.c"));
        // `{"alg":"none"}` and no signature.
        let unsigned = forged("secret", |_, _| ());
        let claims = unsigned.split('.').nth(1).unwrap();
        assert!(!is_valid(&format!("eyJhbGciOiJub25lIn0.{claims}.")));
    }
}
