//! A Redis of one test alone, started with settings that the shared one must not have.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use uuid::Uuid;

/// The settings of one that may be answered `dlq` for.
pub const DURABLE: &[&str] =
    &["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"];

/// Runs until it is dropped.
pub struct RedisServer {
    folder: PathBuf,
    settings: Vec<String>,
    process: Child,
}

impl RedisServer {
    /// Starts one and waits until it takes connections.
    pub async fn start(settings: &[&str]) -> Self {
        // A path of a socket must be short.
        let id = Uuid::new_v4().simple().to_string();
        let folder = std::env::temp_dir().join(format!("dlx-{}", &id[..12]));
        std::fs::create_dir(&folder).unwrap();
        let settings: Vec<_> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let process = Self::launch(&folder, &settings).await;
        Self { folder, settings, process }
    }

    /// Kills it, and starts it again on what it had written.
    pub async fn restart(&mut self) {
        self.process.kill().await.unwrap();
        self.process = Self::launch(&self.folder, &self.settings).await;
    }

    async fn launch(folder: &Path, settings: &[String]) -> Child {
        let mut process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "redis.sock", "--dir"])
            .arg(folder)
            .args(settings)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if line.contains("ready to accept connections") || line.contains("Ready to accept") {
                break;
            }
        }
        process
    }

    /// Whether it can confirm that a write is on disk.
    pub async fn knows_waitaof(&self) -> bool {
        let socket = self.folder.join("redis.sock");
        let mut ask = Command::new("redis-cli");
        let output = ask.arg("-s").arg(socket).args(["command", "info", "waitaof"]).output();
        let output = output.await.unwrap();
        String::from_utf8(output.stdout).unwrap().contains("waitaof")
    }

    /// Where it is; `user` is what follows the question mark.
    pub fn url(&self, user: &str) -> String {
        format!("redis+unix://{}/redis.sock{user}", self.folder.display())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may be writing a file at this very moment.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
