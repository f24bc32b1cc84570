//! Clients that mean no good: some send their request a byte at a time, some say nothing at all.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How many stay connected and silent.
const IDLE: usize = 5_000;

/// How many send a byte a second.
const SLOW: usize = 200;

/// Keeps them all connected, again whenever they are thrown out, until it is dropped.
pub fn begin(address: &str) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    for _ in 0..IDLE {
        crowd.spawn(stay_silent(address.to_owned()));
    }
    for _ in 0..SLOW {
        crowd.spawn(dawdle(address.to_owned()));
    }
    crowd
}

async fn stay_silent(address: String) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            // Ends when the service hangs up.
            drop(stream.read(&mut [0; 512]).await);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn dawdle(address: String) {
    let head = "POST /api/v1/webhooks/moyasar HTTP/1.1\r\nHost: api.dealix.me\r\nX-Slow: ";
    loop {
        if let Ok(mut stream) = TcpStream::connect(&address).await {
            let bytes = head.bytes().chain(std::iter::repeat(b'a'));
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
