//! The sandbox as a process: reads the command line, starts it, prints where it is, and stops on a signal.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;
use dealix_sandbox::{Options, Sandbox, WebhookTarget};
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

/// Plays Moyasar, PostHog and Sentry on one port, for development and tests. No real money, no real data.
///
/// Point the service's Moyasar base URL at `http://ADDR/v1`, its PostHog host at `http://ADDR`, and give it the printed DSN.
#[derive(Parser)]
#[command(name = "dealix-sandbox", version, after_help = AFTER_HELP)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    listen: SocketAddr,
    /// Moyasar's secret key, the user name of Basic auth.
    #[arg(long, value_name = "KEY", default_value_t = Options::default().secret_key)]
    secret_key: String,
    /// The project key that PostHog's batches must carry.
    #[arg(long, value_name = "KEY", default_value_t = Options::default().posthog_key)]
    posthog_key: String,
    /// Where payment events are posted. Without it they are kept and shown in the ledger.
    #[arg(long, value_name = "URL", requires = "webhook_secret")]
    webhook_url: Option<Url>,
    /// The shared secret that every event repeats as `secret_token`.
    #[arg(long, value_name = "SECRET", requires = "webhook_url")]
    webhook_secret: Option<String>,
    /// Divides the waits between webhook retries: 60 makes a minute a second.
    #[arg(long, value_name = "N", default_value_t = Options::default().time_scale)]
    time_scale: u32,
    /// How many deliveries and events of each kind are remembered.
    #[arg(long, value_name = "N", default_value_t = Options::default().ledger_limit)]
    ledger_limit: usize,
    /// Writes the port here once it listens, for scripts that start it with port 0.
    #[arg(long, value_name = "PATH")]
    port_file: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Pay an invoice without a browser, see what happened, and make things go wrong:
  curl -X POST http://ADDR/_sandbox/invoices/ID/pay -d '{\"card\":\"4201320111111010\"}'
  curl http://ADDR/_sandbox/ledger        (or /_sandbox/counts)
  curl -X POST http://ADDR/_sandbox/faults -d '{\"service\":\"moyasar\",\"operation\":\"create_invoice\",
       \"fault\":{\"hang\":true,\"when\":\"after\"},\"times\":1}'
  curl -X POST http://ADDR/_sandbox/freeze    (and /_sandbox/thaw)";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let webhook = arguments
        .webhook_url
        .zip(arguments.webhook_secret)
        .map(|(url, shared_secret)| WebhookTarget { url, shared_secret });
    let sandbox = Sandbox::start(Options {
        listen: arguments.listen,
        secret_key: arguments.secret_key,
        posthog_key: arguments.posthog_key,
        webhook,
        time_scale: arguments.time_scale,
        ledger_limit: arguments.ledger_limit,
        ..Options::default()
    })
    .await?;
    if let Some(path) = &arguments.port_file {
        write_port(path, &sandbox)?;
    }
    let base = sandbox.base_url();
    writeln!(
        std::io::stdout(),
        "The sandbox is up: Moyasar {moyasar}, PostHog {base}, Sentry {dsn}, ledger {base}_sandbox/ledger",
        moyasar = sandbox.moyasar_url(),
        dsn = sandbox.sentry_dsn(),
    )?;
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    Ok(())
}

/// Written beside its place and moved there, so that a reader never sees half a number.
fn write_port(path: &Path, sandbox: &Sandbox) -> anyhow::Result<()> {
    let port = sandbox.base_url().port().context("the sandbox has no port")?;
    let draft = path.with_extension("tmp");
    std::fs::write(&draft, format!("{port}\n"))
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
