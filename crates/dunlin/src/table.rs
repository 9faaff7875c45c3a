//! Tables for terminals.

use crate::output::{Style, Tone, clean};

/// The widest a table gets, unless everything is asked for.
pub(crate) const WIDTH: usize = 100;

/// Columns are set apart by this.
const GAP: &str = "  ";

/// A column.
#[derive(Clone, Copy, Debug)]
struct Column {
    title: &'static str,
    right: bool,
    /// The width below which it is not cut; `None` if it is never cut.
    least: Option<usize>,
}

/// A cell's text and what its colour says.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(tone: Tone, text: impl Into<String>) -> Cell {
        Cell {
            text: clean(&text.into()),
            tone,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::new(Tone::Plain, text)
    }
}

/// Rows under titles.
#[derive(Debug, Default)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table::default()
    }

    /// A column that is shown in full.
    pub(crate) fn left(self, title: &'static str) -> Table {
        self.column(title, false, None)
    }

    /// A column of numbers.
    pub(crate) fn right(self, title: &'static str) -> Table {
        self.column(title, true, None)
    }

    /// A column that may be cut, down to `least` characters, where the table gets too wide.
    pub(crate) fn cut(self, title: &'static str, least: usize) -> Table {
        self.column(title, false, Some(least))
    }

    fn column(mut self, title: &'static str, right: bool, least: Option<usize>) -> Table {
        self.columns.push(Column {
            title,
            right,
            least,
        });
        self
    }

    /// Adds a row; it has a cell for each column.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The table as lines of at most `width` characters, as far as the columns let themselves be cut.
    pub(crate) fn render(&self, width: usize, style: Style) -> String {
        let widths = self.widths(width);
        let mut text = String::new();
        let titles: Vec<Cell> = self
            .columns
            .iter()
            .map(|c| Cell::new(Tone::Strong, c.title))
            .collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            text.push_str(&self.line(row, &widths, style));
            text.push('\n');
        }
        text
    }

    fn widths(&self, width: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .map(|c| c.title.chars().count())
            .collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let gaps = GAP.len() * self.columns.len().saturating_sub(1);
        // The widest of those that may be cut gives way, one character at a time.
        while widths.iter().sum::<usize>() + gaps > width {
            let cuttable = |at: &usize| {
                self.columns[*at]
                    .least
                    .is_some_and(|least| widths[*at] > least)
            };
            match (0..widths.len())
                .filter(cuttable)
                .max_by_key(|at| widths[*at])
            {
                Some(at) => widths[at] -= 1,
                None => break,
            }
        }
        widths
    }

    fn line(&self, row: &[Cell], widths: &[usize], style: Style) -> String {
        let mut line = String::new();
        // Spaces are held back until more text follows, so that no line ends in them.
        let mut pending = 0;
        for (at, ((column, cell), width)) in self.columns.iter().zip(row).zip(widths).enumerate() {
            let text = shorten(&cell.text, *width);
            let padding = width.saturating_sub(text.chars().count());
            pending += if at == 0 { 0 } else { GAP.len() };
            if column.right {
                pending += padding;
            }
            if !text.is_empty() {
                line.extend(std::iter::repeat_n(' ', pending));
                line.push_str(&style.paint(cell.tone, &text));
                pending = 0;
            }
            if !column.right {
                pending += padding;
            }
        }
        line
    }
}

/// The text, cut to `width` characters with an ellipsis.
fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests;
