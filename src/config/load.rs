//! From sources to settings that may be used, or to everything that is wrong with them.

use secrecy::{ExposeSecret, SecretString};
use toml::Value;

use super::check::check;
use super::layers::{Layers, Origin, Setting};
use super::secrets;
use super::{Config, ConfigProblem, Environment, Sources};

/// What a laptop may lack: our own secrets are made up, the stores are expected next door.
const MADE_UP: &[&str] = &["auth.jwt_secret_key", "auth.admin_api_keys", "moyasar.webhook_secret"];
const NEXT_DOOR: &[(&str, &str)] = &[
    ("database.url", "postgres://127.0.0.1:5432/dealix"),
    ("redis.url", "redis://127.0.0.1:6379/0"),
];

/// Settings that may be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What works, but is hardly meant.
    pub warnings: Vec<ConfigProblem>,
    /// Variables that were missing, with the secrets made up for this run.
    pub made_up: Vec<(&'static str, SecretString)>,
}

/// Everything there is to say about the settings, whether or not they may be used.
pub struct Inspection {
    /// Where the process runs; production until somebody says.
    pub environment: Environment,
    /// What is in force, those with a variable in the order of the table, then the others.
    pub settings: Vec<Setting>,
    /// What must be mended.
    pub problems: Vec<ConfigProblem>,
    /// What works, but is hardly meant.
    pub warnings: Vec<ConfigProblem>,
    config: Option<Config>,
    made_up: Vec<(&'static str, SecretString)>,
}

/// Reads and checks the settings; tells everything that is wrong with them.
pub fn load(sources: &Sources) -> Result<Loaded, Vec<ConfigProblem>> {
    let Inspection { problems, warnings, config, made_up, .. } = inspect(sources);
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, warnings, made_up }),
        _ => Err(problems),
    }
}

/// Reads and checks the settings, and shows them as far as they can be read.
pub fn inspect(sources: &Sources) -> Inspection {
    let mut layers = Layers::read(sources);
    let made_up = make_up(&mut layers);
    let warnings = check(&mut layers);
    let config = match layers.nested().try_into::<Config>() {
        Ok(config) => Some(config),
        Err(error) if layers.problems.is_empty() => {
            layers.complain("config", error.message());
            None
        }
        // A value that was told already is what is missing.
        Err(_) => None,
    };
    Inspection {
        environment: layers.environment,
        problems: std::mem::take(&mut layers.problems),
        warnings,
        config,
        made_up,
        settings: layers.into_settings(),
    }
}

fn make_up(layers: &mut Layers) -> Vec<(&'static str, SecretString)> {
    if layers.environment.is_strict() {
        return Vec::new();
    }
    for (key, url) in
        NEXT_DOOR.iter().filter(|(key, _)| layers.text(key).is_empty()).collect::<Vec<_>>()
    {
        layers.set(key, Value::String((*url).to_owned()), Origin::MadeUp);
    }
    let missing =
        super::variables::VARIABLES.iter().filter(|variable| MADE_UP.contains(&variable.key));
    let mut made_up = Vec::new();
    for variable in missing {
        if layers.text(variable.key).is_empty() {
            let secret = secrets::made_up();
            let value = Value::String(secret.expose_secret().to_owned());
            layers.set(variable.key, value, Origin::MadeUp);
            made_up.push((variable.name, secret));
        }
    }
    made_up
}
