//! Tables for people: columns as wide as what stands in them.

use std::io;

use super::Output;

/// Rows under headings.
#[derive(Debug)]
pub(super) struct Table<const COLUMNS: usize> {
    headings: [&'static str; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// An empty table.
    pub fn new(headings: [&'static str; COLUMNS]) -> Self {
        Self { headings, rows: Vec::new() }
    }

    /// Adds a row below the others. What strangers wrote may stand in it: nothing of that moves the
    /// cursor of a terminal.
    pub fn row(&mut self, cells: [String; COLUMNS]) {
        let tame = |cell: String| cell.replace(char::is_control, "\u{fffd}");
        self.rows.push(cells.map(tame));
    }

    /// Says the headings and every row, one line each; nothing at all when there is no row.
    pub fn say(&self, out: &mut Output) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        for line in self.lines() {
            out.say(&line)?;
        }
        Ok(())
    }

    /// How many rows it has.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let headings = self.headings.map(str::to_owned);
        let all: Vec<_> = std::iter::once(headings).chain(self.rows.iter().cloned()).collect();
        let mut widths = [0; COLUMNS];
        for row in &all {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        all.into_iter().map(move |row| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_with_their_text() {
        let mut table = Table::new(["QUEUE", "DEPTH", "ERROR"]);
        table.row(["webhooks".to_owned(), "7".to_owned(), "خطأ".to_owned()]);
        table.row(["a".to_owned(), "12345678".to_owned(), String::new()]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            lines,
            ["QUEUE     DEPTH     ERROR", "webhooks  7         خطأ", "a         12345678",]
        );
    }

    #[test]
    fn what_would_move_the_cursor_is_shown_as_something_else() {
        let mut table = Table::new(["A", "B"]);
        table.row(["x\ny\u{1b}[2J".to_owned(), "\u{9b}0m".to_owned()]);
        assert_eq!(table.lines().nth(1).unwrap(), "x\u{fffd}y\u{fffd}[2J  \u{fffd}0m");
    }
}
