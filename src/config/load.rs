//! Reads the settings: compiled-in files, `.env`, environment, credentials, in this order.

use std::collections::BTreeMap;
use std::str::FromStr;

use config::{FileFormat, Value};
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use super::variables::{Kind, VARIABLES};
use super::{Config, ConfigProblem};

const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Where settings come from, apart from the compiled-in files. A test fills it by hand.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The environment.
    pub environment: BTreeMap<String, String>,
}

/// Settings that may be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
}

/// Reads and checks the settings; tells everything that is wrong with them.
pub fn load(sources: &Sources) -> Result<Loaded, Vec<ConfigProblem>> {
    let problem = |error: &config::ConfigError| {
        vec![ConfigProblem { name: "config".to_owned(), detail: error.to_string() }]
    };
    let mut builder =
        config::Config::builder().add_source(config::File::from_str(DEFAULTS, FileFormat::Toml));
    for variable in VARIABLES {
        let mut names = std::iter::once(&variable.name).chain(variable.older);
        let text = names.find_map(|name| sources.environment.get(*name)).cloned();
        let text = match (text, variable.kind) {
            (None, Kind::Secret | Kind::SecretList) => Some(String::new()),
            (text, _) => text,
        };
        builder = builder
            .set_override_option(variable.key, text.map(Value::from))
            .map_err(|error| problem(&error))?;
    }
    let config = builder.build().and_then(config::Config::try_deserialize::<Config>);
    config.map(|config| Loaded { config }).map_err(|error| problem(&error))
}

pub(super) fn comma_separated<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(serde::de::Error::custom)).collect()
}

pub(super) fn secret_list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SecretString>, D::Error> {
    Ok(comma_separated::<D, String>(deserializer)?.into_iter().map(SecretString::from).collect())
}

pub(super) fn empty_as_none<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

pub(super) fn empty_as_no_secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SecretString>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok((!text.is_empty()).then(|| SecretString::from(text)))
}
