//! The service put together and not started, for commands that work on the stores themselves while
//! the API is down.

use crate::app::{App, Overrides, open_pool};
use crate::config::Config;
use crate::tasks::Tasks;

/// Every part of the service, wired as `serve` wires it: nothing listens, no loop runs, and nothing is
/// connected before it is used.
pub(super) fn assemble(config: &Config) -> anyhow::Result<App> {
    let db = open_pool(config)?;
    App::build(config, db, Tasks::default(), Overrides::default())
}
