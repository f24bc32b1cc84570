//! The binary: reads the command line and the settings, and hands over to the library.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use dealix::commands::{self, Cli, Output};
use dealix::config::Sources;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a blocking call of a finished command may still take.
const GOODBYE: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let sources = Sources::from_process();
    // Fails only if there is one already, which serves as well.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let exit = runtime.block_on(commands::run(cli, &sources, Output::standard()));
            runtime.shutdown_timeout(GOODBYE);
            exit
        }
        Err(error) => {
            let _unsaid = writeln!(std::io::stderr(), "error: no threads to work with: {error}");
            ExitCode::FAILURE
        }
    }
}
