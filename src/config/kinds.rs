//! How the text of a setting is understood, and what is said when it cannot be.

use std::net::{IpAddr, SocketAddr};

use redis::IntoConnectionInfo;
use sentry::types::Dsn;
use sqlx::postgres::PgConnectOptions;
use toml::Value;
use tracing_subscriber::EnvFilter;

use super::Environment;
use super::fields::{network, split};

/// How the text of a variable is understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text nobody may see.
    Secret,
    /// Several texts nobody may see, separated by commas.
    SecretList,
    /// The URL of a Postgres database, also as Python spells it; may hold a password.
    PostgresUrl,
    /// The URL of a Redis instance; may hold a password.
    RedisUrl,
    /// Where Sentry takes reports; holds a key.
    SentryDsn,
    /// An absolute http or https URL that nobody may see.
    SecretUrl,
    /// A key that browsers may see, unlike the one that is easily taken for it.
    PublishableKey,
    /// Several texts, separated by commas.
    List,
    /// A whole number.
    Integer,
    /// A share, 0 to 1.
    Share,
    /// A decimal number that is not negative, kept as text.
    Decimal,
    /// `true`, `false`, `1`, `0`, `yes`, `no`, `on` or `off`.
    Switch,
    /// An absolute http or https URL; always ends with a slash, so that paths can be joined to it.
    Url,
    /// Scheme, host and port of websites, separated by commas; `*` is every one.
    Origins,
    /// The name of an [`Environment`].
    AppEnv,
    /// An IP address.
    Address,
    /// IP addresses and ranges of them, separated by commas.
    Addresses,
    /// An IP address with a port, or nothing.
    Listener,
    /// A filter as `tracing` reads it.
    LogFilter,
}

impl Kind {
    /// The value that this text stands for; `None` when it stands for none.
    pub fn read(self, text: &str) -> Option<Value> {
        let is_text = match self {
            Self::Integer => return text.parse().ok().map(Value::Integer),
            Self::Share => return share(text).map(Value::Float),
            Self::Switch => return switch(text).map(Value::Boolean),
            Self::Url => return base_url(text).map(Value::String),
            Self::AppEnv => {
                return environment(text).map(|env| Value::String(env.name().to_owned()));
            }
            Self::PostgresUrl => return postgres_url(text).map(Value::String),
            Self::RedisUrl => text.into_connection_info().is_ok(),
            Self::SentryDsn => text.parse::<Dsn>().is_ok(),
            Self::SecretUrl => is_web_url(text),
            Self::PublishableKey => !text.starts_with("sk_"),
            Self::Text | Self::Secret | Self::SecretList | Self::List => true,
            Self::Decimal => is_decimal(text),
            Self::Origins => split(text).all(is_origin),
            Self::Address => text.parse::<IpAddr>().is_ok(),
            Self::Addresses => split(text).all(|part| network(part).is_some()),
            Self::Listener => text.is_empty() || text.parse::<SocketAddr>().is_ok(),
            Self::LogFilter => EnvFilter::try_new(text).is_ok(),
        };
        is_text.then(|| Value::String(text.to_owned()))
    }

    /// What would be right.
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Secret => "a secret",
            Self::SecretList => "secrets, separated by commas",
            Self::PostgresUrl => "a URL such as postgresql://user:password@host:5432/dealix",
            Self::RedisUrl => "a URL such as redis://127.0.0.1:6379/0",
            Self::SentryDsn => "a DSN as Sentry's project settings show it",
            Self::SecretUrl => "an http or https URL",
            Self::PublishableKey => "a publishable key (pk_…), never a secret one",
            Self::List => "texts, separated by commas",
            Self::Integer => "a whole number",
            Self::Share => "a number from 0 to 1",
            Self::Decimal => "a decimal number such as 10.00",
            Self::Switch => "true or false (also 1, 0, yes, no, on, off)",
            Self::Url => "an http or https URL without user, query and fragment",
            Self::Origins => "origins such as https://dealix.me, separated by commas",
            Self::AppEnv => "development, test, staging or production",
            Self::Address => "an IP address",
            Self::Addresses => "IP addresses or ranges such as 203.0.113.0/24, separated by commas",
            Self::Listener => "an IP address with a port such as 127.0.0.1:9464, or nothing",
            Self::LogFilter => "error, warn, info, debug, trace or a tracing filter",
        }
    }

    /// Whether nobody may see the value.
    pub const fn is_secret(self) -> bool {
        match self {
            Self::Secret
            | Self::SecretList
            | Self::PostgresUrl
            | Self::RedisUrl
            | Self::SentryDsn
            | Self::SecretUrl => true,
            Self::PublishableKey
            | Self::Text
            | Self::List
            | Self::Integer
            | Self::Share
            | Self::Decimal
            | Self::Switch
            | Self::Url
            | Self::Origins
            | Self::AppEnv
            | Self::Address
            | Self::Addresses
            | Self::Listener
            | Self::LogFilter => false,
        }
    }

    /// Whether an empty text is a value; that of any other kind counts as not set.
    pub const fn may_be_empty(self) -> bool {
        matches!(self, Self::Listener)
    }
}

/// The environment of this name.
pub(super) fn environment(name: &str) -> Option<Environment> {
    Environment::ALL.into_iter().find(|environment| environment.name().eq_ignore_ascii_case(name))
}

fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn share(text: &str) -> Option<f64> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 20 && is_digits(whole) && is_digits(fraction)
}

fn base_url(text: &str) -> Option<String> {
    let mut url = url::Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })?;
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Some(url.into())
}

/// What sqlx takes: Python names its driver in the scheme and says `ssl` for `sslmode`.
fn postgres_url(text: &str) -> Option<String> {
    let url = match text.split_once("://")? {
        ("postgresql+asyncpg", rest) => {
            format!(
                "postgresql://{}",
                rest.replace("?ssl=", "?sslmode=").replace("&ssl=", "&sslmode=")
            )
        }
        ("postgres" | "postgresql", _) => text.to_owned(),
        _ => return None,
    };
    url.parse::<PgConnectOptions>().is_ok().then_some(url)
}

fn is_web_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

fn is_origin(text: &str) -> bool {
    let is_site = |url: url::Url| {
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
    };
    text == "*" || url::Url::parse(text).is_ok_and(is_site)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(kind: Kind, text: &str) -> bool {
        kind.read(text).is_some()
    }

    #[test]
    fn a_base_url_ends_with_a_slash_and_carries_nothing_else() {
        let read = |text| Kind::Url.read(text);
        let url = |text: &str| Some(Value::String(text.to_owned()));
        assert_eq!(read("https://api.moyasar.com/v1"), url("https://api.moyasar.com/v1/"));
        assert_eq!(read("https://dealix.me"), url("https://dealix.me/"));
        for wrong in [
            "dealix.me",
            "ftp://a/",
            "https://u@a/",
            "https://:p@a/",
            "https://a/?b",
            "https://a/#b",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn switches_are_read_as_people_write_them() {
        for (text, value) in [("TRUE", true), ("1", true), ("yes", true), ("On", true)] {
            assert_eq!(Kind::Switch.read(text), Some(Value::Boolean(value)), "{text}");
        }
        for (text, value) in [("False", false), ("0", false), ("no", false), ("off", false)] {
            assert_eq!(Kind::Switch.read(text), Some(Value::Boolean(value)), "{text}");
        }
        assert!(!reads(Kind::Switch, "maybe"));
    }

    #[test]
    fn a_database_url_is_read_as_python_spells_it() {
        let url = |text: &str| Some(Value::String(text.to_owned()));
        assert_eq!(
            Kind::PostgresUrl.read("postgresql+asyncpg://u:p@127.0.0.1:5433/dealix?ssl=require"),
            url("postgresql://u:p@127.0.0.1:5433/dealix?sslmode=require")
        );
        for kept in
            ["postgres://127.0.0.1/dealix", "postgres:///dealix?host=/run/postgresql&user=dealix"]
        {
            assert_eq!(Kind::PostgresUrl.read(kept), url(kept));
        }
        for wrong in ["mysql://127.0.0.1/dealix", "dealix", "postgres://127.0.0.1:port/dealix"] {
            assert_eq!(Kind::PostgresUrl.read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_text_of_digits_stays_a_text() {
        assert_eq!(Kind::Secret.read("007"), Some(Value::String("007".to_owned())));
    }

    #[test]
    fn numbers_addresses_origins_and_filters_are_refused_when_they_are_none() {
        for (kind, right, wrong) in [
            (Kind::Integer, "20", "20.5"),
            (Kind::Share, "1", "1.01"),
            (Kind::Share, "0.25", "-0.1"),
            (Kind::Share, "0", "NaN"),
            (Kind::Decimal, "10.00", "-1"),
            (Kind::Decimal, "7", "1e3"),
            (Kind::Decimal, "0.5", ".5"),
            (Kind::AppEnv, "Production", "prod"),
            (Kind::Address, "::1", "localhost"),
            (Kind::Addresses, "127.0.0.1, ::1", "127.0.0.1, proxy"),
            (Kind::Addresses, "203.0.113.0/24,fd00::/8", "203.0.113.0/33"),
            (Kind::Listener, "127.0.0.1:9464", "9464"),
            (Kind::Listener, "", ":9464"),
            (Kind::LogFilter, "info,sqlx=warn", "info,sqlx=loud"),
            (Kind::Origins, "https://dealix.me,http://127.0.0.1:3000", "https://dealix.me/"),
            (Kind::Origins, "*", "dealix.me"),
            (Kind::RedisUrl, "redis+unix:///run/redis/redis.sock", "127.0.0.1:6379"),
            (Kind::RedisUrl, "rediss://:p@127.0.0.1:6380/1", "http://127.0.0.1"),
            (Kind::SentryDsn, "https://public@127.0.0.1/1", "https://127.0.0.1/1"),
            (Kind::SecretUrl, "https://dealix.me/T/B?x=y", "dealix.me"),
            (Kind::PublishableKey, "pk_live_abc", "sk_live_abc"),
        ] {
            assert!(reads(kind, right), "{kind:?} {right}");
            assert!(!reads(kind, wrong), "{kind:?} {wrong}");
        }
    }
}
