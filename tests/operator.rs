//! `Operator`: somebody at a shell of the server, with the real binary. Shared by tests of commands.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use sqlx::{ConnectOptions, PgPool};

/// Whom the settings belong to.
pub struct Operator {
    pub environment: Vec<(&'static str, String)>,
    folder: PathBuf,
}

impl Operator {
    /// On the database of a test and some Redis, without a service.
    pub fn new(db: &PgPool, redis_url: &str) -> Self {
        let environment = vec![
            ("APP_ENV", "test".to_owned()),
            ("DATABASE_URL", db.connect_options().to_url_lossy().into()),
            ("REDIS_URL", redis_url.to_owned()),
            ("JWT_SECRET_KEY", "jwt-secret-for-tests-0123456789abcdef".to_owned()),
            ("ADMIN_API_KEYS", "admin-key-for-tests-0123456789abcdef".to_owned()),
            ("METRICS_ADDR", String::new()),
            ("APP_PORT", "1".to_owned()),
        ];
        // Without a `.env` of anybody's.
        Self { environment, folder: std::env::temp_dir() }
    }

    /// A command, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dealix-api"));
        command.args(arguments).env_clear().envs(self.environment.iter().cloned());
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// What a command says.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command that succeeds says to a machine.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Starts a service; from now on the commands find it.
    pub fn serve(&mut self) -> Instance {
        self.listen_at("0");
        let mut child = self.command(&["serve"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let instance = Instance(child);
        let mut line = String::new();
        while !line.contains("listening on ") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended");
        }
        let port = line.trim_end().rsplit(':').next().unwrap();
        self.listen_at(port.trim_end_matches(['"', '}']));
        instance
    }

    fn listen_at(&mut self, port: &str) {
        for (name, value) in &mut self.environment {
            if *name == "APP_PORT" {
                port.clone_into(value);
            }
        }
    }
}

/// A running instance, killed with its test.
pub struct Instance(Child);

impl Drop for Instance {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
