//! The real binary under somebody who starts it again whenever it dies, as systemd does.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::door::Door;

const SIGKILL: i32 = 9;

/// What differs from the defaults: what waits for a lease or a tick, waits for a shorter one.
const SETTINGS: &str = "\
[jobs]
tick_ms = 100
event_concurrency = 2
lease_secs = 5

[checkout]
resolve_after_secs = 5
";

/// Runs, dies and runs again until it is dropped.
pub struct Service {
    pub door: Door,
    deaths: Arc<AtomicUsize>,
    killing: Arc<Notify>,
    folder: PathBuf,
    watching: JoinSet<()>,
}

impl Service {
    /// Starts it with the hook at the first of these steps armed, after its death with the next one, and
    /// without any when there is none left.
    pub async fn start(steps: Vec<&'static str>, environment: Vec<(&'static str, String)>) -> Self {
        let folder = std::env::temp_dir().join(format!("dealix-crash-{}", Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("default.toml"), include_str!("../../config/default.toml"))
            .unwrap();
        std::fs::write(folder.join("test.toml"), SETTINGS).unwrap();

        let door = Door::new().await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_dealix-api"));
        command.arg("serve").env_clear().envs(environment).current_dir(&folder);
        command.env("APP_ENV", "test").env("CONFIG_DIR", &folder).env("APP_LOG_LEVEL", "warn");
        command.env("APP_PORT", "0").env("METRICS_ADDR", "");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);

        let deaths = Arc::<AtomicUsize>::default();
        let mut watching = JoinSet::new();
        let (behind, count) = (door.handle(), Arc::clone(&deaths));
        let killing = Arc::<Notify>::default();
        let killed = Arc::clone(&killing);
        let mut steps = steps.into_iter();
        watching.spawn(async move {
            loop {
                match steps.next() {
                    Some(step) => command.env("DEALIX_DIES_AT", step),
                    None => command.env_remove("DEALIX_DIES_AT"),
                };
                let (mut child, address, mut said) = launch(&mut command).await;
                behind.send_replace(Some(address));
                loop {
                    let line = tokio::select! {
                        line = said.next_line() => line.unwrap(),
                        () = killed.notified() => {
                            child.start_kill().unwrap();
                            continue;
                        }
                    };
                    let Some(line) = line else { break };
                    // Shown with a test that fails, and only then.
                    println!("{line}");
                }
                let status = child.wait().await.unwrap();
                behind.send_replace(None);
                assert_eq!(status.signal(), Some(SIGKILL), "it ended by itself: {status}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let service = Self { door, deaths, killing, folder, watching };
        service.until_up().await;
        service
    }

    /// Waits until somebody serves.
    pub async fn until_up(&self) {
        self.door.handle().subscribe().wait_for(Option::is_some).await.unwrap();
    }

    /// Kills it at this very moment; it is dead when this returns, and comes back.
    pub async fn kill(&self) {
        let mut behind = self.door.handle().subscribe();
        self.killing.notify_one();
        behind.wait_for(Option::is_none).await.unwrap();
    }

    /// How often it died.
    pub fn deaths(&self) -> usize {
        self.deaths.load(Ordering::Relaxed)
    }

    /// Stops it for good and waits until it has let go of its stores.
    pub async fn end(mut self) {
        self.watching.shutdown().await;
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Starts it and waits until it says where it listens.
async fn launch(command: &mut Command) -> (Child, String, Lines<BufReader<ChildStdout>>) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("it did not start");
        if let Some((_, address)) = line.split_once("listening on http://") {
            return (child, address.trim().to_owned(), lines);
        }
    }
}
