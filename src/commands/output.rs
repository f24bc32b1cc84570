//! The one writer that commands print through, so that tests can read what an operator would see.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

/// Where a command's answer and its complaints go.
pub struct Output {
    /// Whether a machine reads the answer.
    pub(super) json: bool,
    answer: Box<dyn Write + Send>,
    complaints: Box<dyn Write + Send>,
}

impl fmt::Debug for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Output").field("json", &self.json).finish_non_exhaustive()
    }
}

impl Output {
    /// The standard streams.
    pub fn standard() -> Self {
        Self { json: false, answer: Box::new(io::stdout()), complaints: Box::new(io::stderr()) }
    }

    /// One line of the answer, for people.
    pub(super) fn say(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.answer, "{line}")?;
        self.answer.flush()
    }

    /// The answer as it is, without a line of its own.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.answer.write_all(text.as_bytes())?;
        self.answer.flush()
    }

    /// The answer, or a part of it, as one line for machines.
    pub(super) fn say_json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.answer, value).map_err(io::Error::from)?;
        self.say("")
    }

    /// One line that is not part of the answer.
    pub(super) fn complain(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.complaints, "{line}")
    }
}
