//! The layers of settings put on top of each other, each value with the place it came from.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

use super::kinds::{Kind, environment};
use super::limits;
use super::variables::{self, VARIABLES, Variable};
use super::{ConfigProblem, Environment, Sources};

const DEFAULT_FILE: &str = "default.toml";

/// The compiled-in settings: their definition, and what an environment has different.
const DEFAULTS: &str = include_str!("../../config/default.toml");
const fn differences(environment: Environment) -> &'static str {
    match environment {
        Environment::Development => include_str!("../../config/development.toml"),
        Environment::Test => include_str!("../../config/test.toml"),
        Environment::Staging => include_str!("../../config/staging.toml"),
        Environment::Production => include_str!("../../config/production.toml"),
    }
}

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody said.
    NotSet,
    /// A settings file of this name.
    File(String),
    /// The file `.env`.
    DotEnv,
    /// The environment.
    Environment,
    /// A systemd credential.
    Credentials,
    /// Nobody said, and a laptop can do without.
    MadeUp,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotSet => "not set",
            Self::File(name) => name,
            Self::DotEnv => ".env",
            Self::Environment => "environment",
            Self::Credentials => "credentials",
            Self::MadeUp => "made up",
        })
    }
}

/// One value that is in force. Not `Debug`: it may be a secret.
#[derive(Clone)]
pub struct Setting {
    key: String,
    value: Value,
    origin: Origin,
}

impl Setting {
    /// The setting, as a path into [`super::Config`].
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The variable that fills it, if one does.
    pub fn variable(&self) -> Option<&'static Variable> {
        variables::of_key(&self.key)
    }

    /// Where its value came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its value for people's eyes.
    pub fn shown(&self) -> String {
        let is_secret = self.variable().is_some_and(|variable| variable.kind.is_secret());
        let text = scalar(&self.value).unwrap_or_default();
        if is_secret && !text.is_empty() { "[redacted]".to_owned() } else { text }
    }
}

/// Every setting that the layers agree on, and what is wrong with the layers themselves.
pub(super) struct Layers {
    pub environment: Environment,
    pub problems: Vec<ConfigProblem>,
    settings: BTreeMap<String, Setting>,
}

impl Layers {
    pub(super) fn read(sources: &Sources) -> Self {
        let mut layers = Self {
            // Until it is known: the strictest.
            environment: Environment::Production,
            problems: sources.problems.clone(),
            settings: BTreeMap::new(),
        };
        for variable in VARIABLES.iter().filter(|variable| variable.kind.is_secret()) {
            layers.set(variable.key, Value::String(String::new()), Origin::NotSet);
        }
        layers.choose_environment(sources);
        layers.add_files(sources);
        for variable in VARIABLES {
            layers.add_variable(sources, variable);
        }
        layers
    }

    /// The settings: those with a variable in the order of the table, then the others.
    pub(super) fn into_settings(mut self) -> Vec<Setting> {
        let named = VARIABLES.iter().filter_map(|variable| self.settings.remove(variable.key));
        let mut settings: Vec<_> = named.collect();
        settings.extend(self.settings.into_values());
        settings
    }

    /// The settings as the nested tables that `Config` is read from.
    pub(super) fn nested(&self) -> Table {
        let mut root = Table::new();
        for (key, setting) in &self.settings {
            insert(&mut root, key, setting.value.clone());
        }
        root
    }

    /// The text of a setting; empty when it has none.
    pub(super) fn text(&self, key: &str) -> &str {
        self.settings.get(key).and_then(|setting| setting.value.as_str()).unwrap_or_default()
    }

    pub(super) fn integer(&self, key: &str) -> i64 {
        self.settings.get(key).and_then(|setting| setting.value.as_integer()).unwrap_or_default()
    }

    pub(super) fn is_on(&self, key: &str) -> bool {
        self.settings.get(key).and_then(|setting| setting.value.as_bool()).unwrap_or_default()
    }

    /// What the operator calls this setting: where it stands in a file, else its variable.
    pub(super) fn name(&self, key: &str) -> String {
        match (self.settings.get(key).map(Setting::origin), variables::of_key(key)) {
            (Some(Origin::File(file)), None) => format!("{file}: {key}"),
            (Some(Origin::File(file)), Some(_)) if file != DEFAULT_FILE => format!("{file}: {key}"),
            (_, Some(variable)) => variable.name.to_owned(),
            (_, None) => key.to_owned(),
        }
    }

    pub(super) fn set(&mut self, key: &str, value: Value, origin: Origin) {
        self.settings.insert(key.to_owned(), Setting { key: key.to_owned(), value, origin });
    }

    pub(super) fn complain(&mut self, name: impl Into<String>, detail: impl Into<String>) {
        self.problems.push(ConfigProblem { name: name.into(), detail: detail.into() });
    }

    fn choose_environment(&mut self, sources: &Sources) {
        let Some(variable) = variables::of_key("app.env") else { return };
        match find(sources, variable) {
            Some(found) => {
                // A wrong one is told with the other variables.
                if let Some(environment) = environment(found.text.trim()) {
                    self.environment = environment;
                }
                return;
            }
            None if sources.requires_app_env => {
                self.complain(variable.name, format!("must be set: {}", variable.kind.expected()));
            }
            None => self.environment = Environment::Development,
        }
        let name = Value::String(self.environment.name().to_owned());
        self.set(variable.key, name, Origin::MadeUp);
    }

    fn add_files(&mut self, sources: &Sources) {
        self.define();
        let chosen = format!("{}.toml", self.environment.name());
        match &sources.folder {
            // A key that an older folder lacks keeps its compiled-in default.
            Some(folder) => {
                for name in [DEFAULT_FILE, &chosen] {
                    if let Some(text) = folder.get(name) {
                        self.add_file(name, text);
                    }
                }
            }
            None => self.add_file(&chosen, differences(self.environment)),
        }
    }

    /// The compiled-in defaults say which settings there are.
    fn define(&mut self) {
        for (key, value) in self.parse(DEFAULT_FILE, DEFAULTS) {
            self.set(&key, value, Origin::File(DEFAULT_FILE.to_owned()));
        }
    }

    fn add_file(&mut self, file: &str, text: &str) {
        for (key, value) in self.parse(file, text) {
            self.add_file_value(file, &key, &value);
        }
    }

    /// The leaves of a file, by dotted path; none, and a complaint, if it is no TOML.
    fn parse(&mut self, file: &str, text: &str) -> Vec<(String, Value)> {
        match text.parse::<Table>() {
            Ok(table) => flat(table),
            Err(error) => {
                let start = error.span().map_or(0, |span| span.start);
                let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
                // Not the error itself: it quotes the line, and the line may hold a secret.
                self.complain(file, format!("line {line}: {}", error.message()));
                Vec::new()
            }
        }
    }

    fn add_file_value(&mut self, file: &str, key: &str, value: &Value) {
        let name = format!("{file}: {key}");
        let variable = variables::of_key(key);
        if let Some(variable) = variable.filter(|variable| variable.kind.is_secret()) {
            let detail = format!("a secret never stands in a file; set {} instead", variable.name);
            return self.complain(name, detail);
        }
        if key == "app.env" {
            return self.complain(name, "the environment chooses the file; set APP_ENV instead");
        }
        let Some(default) = self.settings.get(key).map(|setting| &setting.value) else {
            return self.complain(name, "there is no such setting");
        };
        let kind = variable.map_or_else(|| kind_of(default), |variable| variable.kind);
        match as_text(value, default).and_then(|text| kind.read(&text)) {
            Some(value) => self.accept(key, name, value, Origin::File(file.to_owned())),
            None => self.complain(name, format!("must be {}", kind.expected())),
        }
    }

    fn add_variable(&mut self, sources: &Sources, variable: &'static Variable) {
        let Some(Found { name, text, origin }) = find(sources, variable) else { return };
        let text = if variable.kind.is_secret() { text.as_str() } else { text.trim() };
        if text.trim() != text {
            return self.complain(name, format!("has blanks around it; read from {origin}"));
        }
        if let Some(value) = variable.kind.read(text) {
            self.accept(variable.key, name.to_owned(), value, origin);
        } else {
            let expected = variable.kind.expected();
            self.complain(name, format!("must be {expected}; read from {origin}"));
        }
    }

    fn accept(&mut self, key: &str, name: String, value: Value, origin: Origin) {
        match limits::broken_by(key, &value) {
            Some(limit) => self.complain(name, format!("must be {limit}")),
            None => self.set(key, value, origin),
        }
    }
}

struct Found {
    name: &'static str,
    text: String,
    origin: Origin,
}

/// The text of a variable in the strongest layer that has it under any of its names.
fn find(sources: &Sources, variable: &Variable) -> Option<Found> {
    let empty_counts = variable.kind.may_be_empty();
    if variable.kind != Kind::List {
        let names: Vec<_> =
            std::iter::once(variable.name).chain(variable.older.iter().copied()).collect();
        return find_named(sources, &names, empty_counts);
    }
    find_named(sources, &[variable.name], empty_counts).or_else(|| {
        let parts = variable.older.iter().filter_map(|name| find_named(sources, &[*name], false));
        parts.reduce(|list, part| Found { text: format!("{},{}", list.text, part.text), ..list })
    })
}

fn find_named(sources: &Sources, names: &[&'static str], empty_counts: bool) -> Option<Found> {
    let layers = [
        (&sources.credentials, Origin::Credentials),
        (&sources.environment, Origin::Environment),
        (&sources.dotenv, Origin::DotEnv),
    ];
    layers.into_iter().find_map(|(layer, origin)| {
        let text = |name: &&'static str| {
            layer.get(*name).filter(|text| empty_counts || !text.trim().is_empty())
        };
        let name = names.iter().find(|name| text(name).is_some())?;
        text(name).map(|text| Found { name, text: text.clone(), origin: origin.clone() })
    })
}

/// The text of a value of a file, if it has the type of the default; `0` may stand for `0.0`.
fn as_text(value: &Value, default: &Value) -> Option<String> {
    let may_stand_for = value.same_type(default) || (value.is_integer() && default.is_float());
    if may_stand_for { scalar(value) } else { None }
}

/// The text of a single value.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(format!("{number:?}")),
        Value::Boolean(switch) => Some(switch.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// How a setting without a variable is understood.
fn kind_of(default: &Value) -> Kind {
    match default {
        Value::Integer(_) => Kind::Integer,
        Value::Float(_) => Kind::Share,
        Value::Boolean(_) => Kind::Switch,
        Value::String(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => Kind::Text,
    }
}

/// The leaves of nested tables, by dotted path.
fn flat(table: Table) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    for (key, value) in table {
        if let Value::Table(inner) = value {
            leaves.extend(
                flat(inner).into_iter().map(|(rest, leaf)| (format!("{key}.{rest}"), leaf)),
            );
        } else {
            leaves.push((key, value));
        }
    }
    leaves
}

fn insert(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(table.insert(path.to_owned(), value)),
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
