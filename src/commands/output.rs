//! The one writer that commands print through, so that tests can read what an operator would see.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Cells of a bar.
const BAR: u64 = 30;

/// Goes back to the beginning of the line and empties it.
const REWIND: &str = "\r\x1b[2K";

/// Where a command's answer and its complaints go.
pub struct Output {
    /// Whether a machine reads the answer.
    pub(super) json: bool,
    answer: Box<dyn Write + Send>,
    complaints: Box<dyn Write + Send>,
    /// Whether somebody watches the complaints.
    is_watched: bool,
    /// Whether a bar stands in the last line.
    has_bar: bool,
}

impl fmt::Debug for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Output").field("json", &self.json).finish_non_exhaustive()
    }
}

impl Output {
    /// The standard streams.
    pub fn standard() -> Self {
        let is_watched = io::stderr().is_terminal();
        let (answer, complaints) = (Box::new(io::stdout()), Box::new(io::stderr()));
        Self { json: false, answer, complaints, is_watched, has_bar: false }
    }

    /// One line of the answer, for people.
    pub(super) fn say(&mut self, line: &str) -> io::Result<()> {
        self.clear()?;
        writeln!(self.answer, "{line}")?;
        self.answer.flush()
    }

    /// The answer as it is, without a line of its own.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.clear()?;
        self.answer.write_all(text.as_bytes())?;
        self.answer.flush()
    }

    /// The answer, or a part of it, as one line for machines.
    pub(super) fn say_json(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.clear()?;
        serde_json::to_writer(&mut self.answer, value).map_err(io::Error::from)?;
        self.say("")
    }

    /// One line that is not part of the answer.
    pub(super) fn complain(&mut self, line: &str) -> io::Result<()> {
        self.clear()?;
        writeln!(self.complaints, "{line}")
    }

    /// How far long work has come, if somebody watches; the next line takes its place.
    pub(super) fn show_progress(&mut self, done: u64, total: u64) -> io::Result<()> {
        if !self.is_watched {
            return Ok(());
        }
        self.has_bar = true;
        write!(self.complaints, "{REWIND}{}", bar(done, total))?;
        self.complaints.flush()
    }

    fn clear(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.has_bar) {
            return Ok(());
        }
        write!(self.complaints, "{REWIND}")?;
        self.complaints.flush()
    }
}

/// What came meanwhile may be more than there was at first.
fn bar(done: u64, total: u64) -> String {
    let total = total.max(done);
    let full = done.saturating_mul(BAR).checked_div(total).unwrap_or(BAR);
    let cells = (0..BAR).map(|cell| if cell < full { '#' } else { '.' });
    format!("[{}] {done} of {total}", cells.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    struct Tape(Sender<u8>);

    impl Write for Tape {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            for byte in bytes {
                self.0.send(*byte).map_err(io::Error::other)?;
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn output(is_watched: bool) -> (Output, Receiver<u8>) {
        let (tape, said) = channel();
        let (answer, complaints) = (Box::new(Tape(tape.clone())), Box::new(Tape(tape)));
        (Output { json: false, answer, complaints, is_watched, has_bar: false }, said)
    }

    fn all(said: &Receiver<u8>) -> String {
        String::from_utf8(said.try_iter().collect()).unwrap()
    }

    #[test]
    fn a_bar_stands_in_the_last_line_until_something_is_said() {
        let (mut out, said) = output(true);
        out.show_progress(1, 3).unwrap();
        out.show_progress(3, 3).unwrap();
        out.say("done").unwrap();
        out.complain("really").unwrap();
        let expected = format!(
            "{REWIND}[##########{}] 1 of 3{REWIND}[{}] 3 of 3{REWIND}done\nreally\n",
            ".".repeat(20),
            "#".repeat(30),
        );
        assert_eq!(all(&said), expected);
    }

    #[test]
    fn where_nobody_watches_there_is_no_bar() {
        let (mut out, said) = output(false);
        out.show_progress(1, 3).unwrap();
        out.say("done").unwrap();
        assert_eq!(all(&said), "done\n");
    }

    #[test]
    fn a_bar_is_full_of_nothing_and_of_more_than_there_was() {
        for (done, total) in [(0, 0), (5, 3)] {
            assert_eq!(bar(done, total), format!("[{}] {done} of {done}", "#".repeat(30)));
        }
        assert_eq!(bar(0, 9), format!("[{}] 0 of 9", ".".repeat(30)));
    }
}
