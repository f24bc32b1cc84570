//! Writes `.env.example` and the page that documents the settings, from the table and the defaults.

use std::fmt::{self, Write};

use super::layers::{Origin, Setting};
use super::variables::{VARIABLES, Variable};
use super::{Sources, inspect};

/// The content of `.env.example`.
pub fn env_example() -> String {
    let mut text = String::new();
    write_env_example(&mut text).map_or_else(|error| error.to_string(), |()| text)
}

/// The content of `docs/configuration.md`.
pub fn page() -> String {
    let mut text = String::new();
    write_page(&mut text).map_or_else(|error| error.to_string(), |()| text)
}

fn write_env_example(out: &mut String) -> fmt::Result {
    out.push_str(ENV_EXAMPLE_HEAD);
    let settings = defaults();
    for variable in VARIABLES {
        writeln!(out, "\n# {}", variable.about)?;
        if variable.is_required {
            writeln!(out, "# Required in production.")?;
        }
        if !variable.older.is_empty() {
            writeln!(out, "# Older spelling: {}.", variable.older.join(", "))?;
        }
        writeln!(out, "{}={}", variable.name, default_of(variable, &settings))?;
    }
    Ok(())
}

fn write_page(out: &mut String) -> fmt::Result {
    out.push_str(PAGE_HEAD);
    let settings = defaults();
    for variable in VARIABLES {
        let names = std::iter::once(&variable.name).chain(variable.older);
        let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
        let default = match default_of(variable, &settings) {
            _ if variable.is_required => "**required**".to_owned(),
            default if default.is_empty() => "–".to_owned(),
            default => format!("`{default}`"),
        };
        let (names, about) = (names.join(", else "), variable.about);
        writeln!(out, "| {names} | `{}` | {default} | {about} |", variable.key)?;
    }
    out.push_str(PAGE_FILE_ONLY);
    for setting in settings.iter().filter(|setting| setting.variable().is_none()) {
        writeln!(out, "| `{}` | `{}` |", setting.key(), setting.shown())?;
    }
    Ok(())
}

fn defaults() -> Vec<Setting> {
    inspect(&Sources::default()).settings
}

/// What the variable is when nobody says: nothing for a secret, and for what is made up.
fn default_of(variable: &Variable, settings: &[Setting]) -> String {
    let setting = settings.iter().find(|setting| setting.key() == variable.key);
    setting
        .filter(|setting| matches!(setting.origin(), Origin::File(_)))
        .map(Setting::shown)
        .unwrap_or_default()
}

const ENV_EXAMPLE_HEAD: &str = "\
# Every environment variable of dealix-api, with its default. Copy this file to .env and fill in what
# you need: an empty value counts as not set. The environment is stronger than .env, and a systemd
# credential (a file in $CREDENTIALS_DIRECTORY named as the variable) is stronger than both.
# CONFIG_DIR names a folder whose default.toml and <APP_ENV>.toml are read instead of the compiled-in
# ones. Written by `dealix-api check-config --example > .env.example`.
";

const PAGE_HEAD: &str = "\
# Configuration

Written by `dealix-api check-config --reference > docs/configuration.md`; a test holds it to the code.

Each layer is stronger than the one before it:

1. `config/default.toml` and `config/<APP_ENV>.toml`, compiled in.
   `CONFIG_DIR` names a folder whose files are read instead.
2. The file `.env` of the working directory.
3. The environment.
4. systemd credentials: files in `$CREDENTIALS_DIRECTORY` named as the variable.
   One newline at the end is not part of the value.

An empty value counts as not set (but `METRICS_ADDR=` switches that listener off).
Unknown variables are no error; an unknown key in a file is.
Secrets never stand in a TOML file.
`dealix-api check-config` shows what is in force, where each value came from, and every problem at once.

In production and staging everything marked **required** must be given, a placeholder (`changeme`, `xxx`, `todo`, `<…>`) is refused, and so is a secret of our own shorter than 32 bytes.
In development missing secrets are made up and printed once; the stores are expected on loopback.

| Variable | Setting | Default | Meaning |
|---|---|---|---|
";

const PAGE_FILE_ONLY: &str = "
These have no variable; a file in `CONFIG_DIR` can change them.
`config/default.toml` says what they mean.

| Setting | Default |
|---|---|
";
