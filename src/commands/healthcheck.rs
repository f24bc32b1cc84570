//! `healthcheck`: asks a running service whether it lives, for containers without curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

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
                Ok(loaded) => own_url(loaded.config.app.host, loaded.config.app.port)?,
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

/// Where a service that listens there is reached from its own machine.
fn own_url(host: IpAddr, port: u16) -> anyhow::Result<Url> {
    let loopback: IpAddr = match host {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let host = if host.is_unspecified() { loopback } else { host };
    let address = SocketAddr::new(host, port);
    Ok(format!("http://{address}/health").parse()?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_on_every_address_is_asked_on_loopback() {
        let url = |host: &str| own_url(host.parse().unwrap(), 8001).unwrap().to_string();
        assert_eq!(url("0.0.0.0"), "http://127.0.0.1:8001/health");
        assert_eq!(url("::"), "http://[::1]:8001/health");
        assert_eq!(url("203.0.113.7"), "http://203.0.113.7:8001/health");
    }
}
