//! `healthcheck`: asks a running service whether it lives, for containers without curl.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use super::api::address_of;
use super::{Exit, Output, refuse};
use crate::config::{Sources, load};

const DEADLINE: Duration = Duration::from_secs(3);

/// Ask a running service for /health; exit code 0 if it answers 200 within 3 s, otherwise 1.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dealix-api healthcheck                                     the service that APP_PORT names
  dealix-api healthcheck --url http://127.0.0.1:8001/ready   a deploy gate
  HEALTHCHECK CMD [\"dealix-api\", \"healthcheck\"]              in a Dockerfile")]
pub struct Healthcheck {
    /// What to ask instead; http only.
    #[arg(long)]
    url: Option<Url>,
}

impl Healthcheck {
    pub(super) async fn run(self, sources: &Sources, out: &mut Output) -> anyhow::Result<Exit> {
        let url = match self.url {
            Some(url) => url,
            None => match load(sources) {
                Ok(loaded) => {
                    format!("http://{}/health", address_of(&loaded.config.app)).parse()?
                }
                Err(problems) => return refuse(&problems, out),
            },
        };
        let answer = tokio::time::timeout(DEADLINE, status(&url)).await;
        let status = answer.context("no answer within 3 s").flatten().context(url)?;
        if out.json {
            out.say_json(&json!({ "status": status }))?;
        } else {
            out.say(&status.to_string())?;
        }
        Ok(if status == 200 { Exit::Done } else { Exit::Failed })
    }
}

/// The status of a GET, by hand: a health check must not depend on proxies or certificates.
async fn status(url: &Url) -> anyhow::Result<u16> {
    ensure!(url.scheme() == "http", "only http can be asked");
    let address = url.socket_addrs(|| None)?;
    let mut stream = TcpStream::connect(address.as_slice()).await?;
    let host = url.authority();
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: dealix-api/healthcheck\r\nConnection: close\r\n\r\n",
        url.path()
    );
    stream.write_all(request.as_bytes()).await?;
    // The status line is all that matters: `HTTP/1.1 200 OK`.
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    let head = str::from_utf8(&head).context("the answer is not HTTP")?;
    let status = head.strip_prefix("HTTP/1.1 ").context("the answer is not HTTP")?;
    status.parse().context("the answer is not HTTP")
}
