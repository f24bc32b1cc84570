//! `openapi`: the document of every route.

use super::{Exit, Output};
use crate::app;

pub(super) fn run(out: &mut Output) -> anyhow::Result<Exit> {
    out.say_json(&app::openapi())?;
    Ok(Exit::Done)
}
