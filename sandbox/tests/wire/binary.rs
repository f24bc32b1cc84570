//! The sandbox as a process.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_dealix-sandbox");

#[tokio::test]
async fn the_binary_says_where_it_is_and_stops_on_sigterm() {
    let port_file = std::env::temp_dir().join(format!("sandbox-port-{}", std::process::id()));
    let mut child = Command::new(BINARY)
        .args(["--listen", "127.0.0.1:0", "--port-file"])
        .arg(&port_file)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let port = std::fs::read_to_string(&port_file).unwrap();
    std::fs::remove_file(&port_file).unwrap();
    assert!(line.contains(&format!("http://127.0.0.1:{}/v1/", port.trim())), "{line}");
    let health = format!("http://127.0.0.1:{}/_health", port.trim());
    assert_eq!(reqwest::get(health).await.unwrap().status(), 200);
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert!(child.wait().await.unwrap().success());
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn help_teaches_and_half_a_webhook_is_refused() {
    let help = Command::new(BINARY).arg("--help").output().await.unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    for part in ["--webhook-url", "--time-scale", "_sandbox/ledger", "_sandbox/faults"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let half = Command::new(BINARY).args(["--webhook-url", "http://127.0.0.1:1/"]).output();
    assert_eq!(half.await.unwrap().status.code(), Some(2));
}
