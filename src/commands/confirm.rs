//! Asks whether the operator means it, before something is destroyed.

use std::io::{self, IsTerminal};

use super::Output;

/// Whether the operator types `word`. Whoever runs us without a terminal cannot be asked, and has to say
/// `--yes`.
pub(super) fn confirm(what: &str, word: &str, out: &mut Output) -> io::Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        out.complain(&format!("error: {what}: --yes says that you mean it"))?;
        return Ok(false);
    }
    out.complain(&format!("{what}. Type {word} to go on:"))?;
    let mut typed = String::new();
    stdin.read_line(&mut typed)?;
    let is_meant = typed.trim() == word;
    if !is_meant {
        out.complain("error: nothing was changed")?;
    }
    Ok(is_meant)
}
