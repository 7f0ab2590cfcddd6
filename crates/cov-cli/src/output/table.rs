//! Columns that are aligned, and no wider than the screen: only the last one, or one that says so,
//! is cut. Pure.

use unicode_width::UnicodeWidthStr as _;

use super::{Screen, Tone};

/// Blanks between two columns.
const GAP: usize = 2;
/// A column is not cut below this.
const CUT_MIN: usize = 8;

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
    right: bool,
}

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        // A name may hold anything; it must not break a line or move the cursor.
        let text: String = text.into();
        let clean = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
        Self { text: clean.collect(), tone: Tone::Plain, right: false }
    }

    pub(crate) fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    /// Aligned to the right, as numbers are.
    pub(crate) fn right(mut self) -> Self {
        self.right = true;
        self
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// Rows of cells below a heading.
#[derive(Debug, Default)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<Cell>>,
    /// The column that is cut when there is too little space; the last one otherwise.
    flexible: Option<usize>,
}

impl Table {
    /// A table with these headings; none if they are empty.
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { head: head.map(str::to_owned).to_vec(), ..Self::default() }
    }

    /// The same with this column cut when there is too little space.
    pub(crate) fn flexible(mut self, column: usize) -> Self {
        self.flexible = Some(column);
        self
    }

    pub(crate) fn with_head(head: Vec<String>) -> Self {
        Self { head, ..Self::default() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, joined.
    pub(crate) fn text(&self, screen: &Screen) -> String {
        let widths = self.widths(screen);
        let columns = widths.len();
        let is_right = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.clone().next().is_some() && cells.clone().all(|cell| cell.right)
        };
        let mut lines = Vec::with_capacity(self.rows.len() + 1);
        if self.head.iter().any(|name| !name.is_empty()) {
            let head = self.head.iter().enumerate().map(|(column, name)| {
                let cell = Cell::new(name.as_str()).tone(Tone::Dim);
                if is_right(column) { cell.right() } else { cell }
            });
            lines.push(line(&head.collect::<Vec<_>>(), &widths, screen));
        }
        lines.extend(self.rows.iter().map(|row| line(row, &widths, screen)));
        debug_assert!(self.rows.iter().all(|row| row.len() <= columns));
        lines.join("\n")
    }

    fn widths(&self, screen: &Screen) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).chain([self.head.len()]).max().unwrap_or(0);
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let texts = cells.map(|cell| cell.text.width());
            texts.chain(self.head.get(column).map(|name| name.width())).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..columns).map(widest).collect();
        let Some(limit) = screen.width else { return widths };
        let whole = widths.iter().sum::<usize>() + GAP * columns.saturating_sub(1);
        let flexible = self.flexible.unwrap_or(columns.saturating_sub(1));
        if let Some(width) = widths.get_mut(flexible).filter(|_| whole > limit) {
            *width = width.saturating_sub(whole - limit).max(CUT_MIN.min(*width));
        }
        widths
    }
}

fn line(cells: &[Cell], widths: &[usize], screen: &Screen) -> String {
    let mut line = String::new();
    let mut blanks = 0;
    for (column, cell) in cells.iter().enumerate() {
        let width = widths.get(column).copied().unwrap_or_default();
        let text = cut(&cell.text, width);
        let rest = width.saturating_sub(text.width());
        if cell.right {
            blanks += rest;
        }
        if !text.is_empty() {
            line.extend(std::iter::repeat_n(' ', blanks));
            line.push_str(&screen.paint(cell.tone, &text));
            blanks = 0;
        } else {
            blanks += text.width();
        }
        blanks += GAP + if cell.right { 0 } else { rest };
    }
    line
}

/// The text in so many columns, with a sign that something is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    for letter in text.chars() {
        if cut.width() + letter.to_string().width() + 1 > width {
            break;
        }
        cut.push(letter);
    }
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["ID", "NAME", "TOOK"]).flexible(1);
        table.row(["a".into(), "short".into(), Cell::new("1 s").right()]);
        table.row(["bb".into(), "a rather long name ✓".into(), Cell::new("10 s").right()]);
        table.row(["c".into(), "new\nline".into(), Cell::new("").right()]);
        table
    }

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        insta::assert_snapshot!(table().text(&Screen::pipe()), @"
        ID  NAME                  TOOK
        a   short                  1 s
        bb  a rather long name ✓  10 s
        c   new line
        ");
    }

    #[test]
    fn what_does_not_fit_is_cut_where_it_may_be() {
        insta::assert_snapshot!(table().text(&Screen::for_tests(22)), @"
        ID  NAME          TOOK
        a   short          1 s
        bb  a rather lo…  10 s
        c   new line
        ");
        assert_eq!(cut("漢字漢字", 5), "漢字…");
    }
}
