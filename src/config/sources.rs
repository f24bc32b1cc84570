//! Where settings come from: the one reader of the process environment and of files.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use super::ConfigProblem;
use super::variables::VARIABLES;

/// The layers of settings, apart from the compiled-in files. A test fills them by hand.
#[derive(Clone, Default)]
pub struct Sources {
    /// The files of `CONFIG_DIR` by name, read instead of the compiled-in ones.
    pub folder: Option<BTreeMap<String, String>>,
    /// The file `.env` of the working directory.
    pub dotenv: BTreeMap<String, String>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The files of `CREDENTIALS_DIRECTORY` that are named as a variable.
    pub credentials: BTreeMap<String, String>,
    /// Whether `APP_ENV` must be given; otherwise it is `development`.
    pub requires_app_env: bool,
    /// What could not be read at all.
    pub problems: Vec<ConfigProblem>,
}

impl Sources {
    /// Everything this process was given.
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    pub fn from_process() -> Self {
        let mut sources = Self { requires_app_env: !cfg!(debug_assertions), ..Self::default() };
        sources.read_environment(std::env::vars_os());
        sources.read_dotenv(Path::new(".env"));
        if let Some(folder) = sources.location("CREDENTIALS_DIRECTORY") {
            sources.read_credentials(Path::new(&folder));
        }
        if let Some(folder) = sources.location("CONFIG_DIR") {
            sources.read_folder(Path::new(&folder));
        }
        sources
    }

    /// A folder that the environment names, else `.env`.
    fn location(&self, name: &str) -> Option<String> {
        let mut layers = [&self.environment, &self.dotenv].into_iter();
        layers.find_map(|layer| layer.get(name).filter(|path| !path.is_empty())).cloned()
    }

    fn read_environment(
        &mut self,
        variables: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) {
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(self.environment.insert(name, value)),
                Err(_) if is_known(&name) => self.complain(&name, "must be UTF-8"),
                Err(_) => (),
            }
        }
    }

    /// Reads without touching the process environment, which other threads may be reading.
    fn read_dotenv(&mut self, path: &Path) {
        let lines = match dotenvy::from_path_iter(path) {
            Ok(lines) => lines,
            Err(error) if error.not_found() => return,
            Err(_) => return self.complain(".env", "cannot be read"),
        };
        for line in lines {
            match line {
                // The first one of a name wins, as everywhere else where `.env` is read.
                Ok((name, value)) => drop(self.dotenv.entry(name).or_insert(value)),
                Err(dotenvy::Error::LineParse(line, _)) => {
                    // The rest of the line may be a secret.
                    let name = line.split('=').next().unwrap_or_default().trim();
                    let name = if is_known(name) { name } else { "…" };
                    self.complain(".env", &format!("the line `{name}=…` cannot be read"));
                }
                Err(_) => self.complain(".env", "cannot be read"),
            }
        }
    }

    fn read_credentials(&mut self, folder: &Path) {
        let names = VARIABLES
            .iter()
            .flat_map(|variable| std::iter::once(&variable.name).chain(variable.older));
        for name in names {
            match fs::read_to_string(folder.join(name)) {
                Ok(mut text) => {
                    // An editor's or echo's newline is no part of the secret.
                    if text.ends_with('\n') {
                        text.pop();
                    }
                    self.credentials.insert((*name).to_owned(), text);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                Err(error) => self.complain(
                    name,
                    &format!("its file in CREDENTIALS_DIRECTORY cannot be read: {}", error.kind()),
                ),
            }
        }
    }

    fn read_folder(&mut self, folder: &Path) {
        let mut files = BTreeMap::new();
        let names =
            super::Environment::ALL.map(|environment| format!("{}.toml", environment.name()));
        for name in std::iter::once("default.toml".to_owned()).chain(names) {
            match fs::read_to_string(folder.join(&name)) {
                Ok(text) => drop(files.insert(name, text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                Err(error) => {
                    self.complain(
                        "CONFIG_DIR",
                        &format!("{name} cannot be read: {}", error.kind()),
                    );
                }
            }
        }
        if !files.contains_key("default.toml") {
            self.complain("CONFIG_DIR", "must be a folder with a default.toml");
        }
        self.folder = Some(files);
    }

    fn complain(&mut self, name: &str, detail: &str) {
        self.problems.push(ConfigProblem { name: name.to_owned(), detail: detail.to_owned() });
    }
}

fn is_known(name: &str) -> bool {
    VARIABLES.iter().any(|variable| variable.name == name || variable.older.contains(&name))
}
