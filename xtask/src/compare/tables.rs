//! How figures become tables: columns, numbers as people read them, and who is ahead.
//!
//! Pure. Which columns there are is known to `page`.

use std::fmt::Write as _;

use super::cells::Cell;
use super::figures::{Entry, Figure, Record, Run, Start};

type Finds = Box<dyn Fn(&Record, &str) -> Option<Figure>>;

/// One column of a table.
pub(super) struct Column {
    title: &'static str,
    /// Whether more is better.
    is_rate: bool,
    /// It says what is on disk, and says nothing of a system that keeps nothing.
    is_of_disk: bool,
    finds: Finds,
}

impl Column {
    /// A figure of the runs of a shape: of this size, or of whichever the peer ran.
    pub(super) fn cell(
        title: &'static str,
        shape: &'static str,
        n: Option<u64>,
        is_rate: bool,
        value: fn(&Run) -> Vec<f64>,
    ) -> Self {
        let finds = move |record: &Record, peer: &str| {
            let cell = found_cell(record, peer, shape, n)?;
            record.of_cell(peer, &cell, value)
        };
        Self { title, is_rate, is_of_disk: false, finds: Box::new(finds) }
    }

    /// A figure that is made of all runs of a shape together; less is better.
    pub(super) fn of_all(
        title: &'static str,
        shape: &'static str,
        n: Option<u64>,
        value: fn(&Record, &str, &Cell) -> Option<Figure>,
    ) -> Self {
        let finds = move |record: &Record, peer: &str| {
            let cell = found_cell(record, peer, shape, n)?;
            value(record, peer, &cell)
        };
        Self { title, is_rate: false, is_of_disk: false, finds: Box::new(finds) }
    }

    /// The same column, compared with systems only that keep something.
    pub(super) fn of_disk(self) -> Self {
        Self { is_of_disk: true, ..self }
    }

    /// A figure of a peer's starts; less is better.
    pub(super) fn start(title: &'static str, value: fn(&Start) -> Option<f64>) -> Self {
        let finds = move |record: &Record, peer: &str| record.of_starts(peer, value);
        Self { title, is_rate: false, is_of_disk: false, finds: Box::new(finds) }
    }
}

/// The cell of a shape that a peer ran. Shapes of one size have that of the peer, for some have a smaller one.
fn found_cell(record: &Record, peer: &str, shape: &str, n: Option<u64>) -> Option<Cell> {
    let own = record.runs.iter().filter(|run| run.peer == peer && run.cell.shape == shape);
    let mut cells = own.map(|run| &run.cell);
    match (shape, n) {
        ("fan", Some(n)) => cells.find(|cell| cell.n == n).cloned(),
        _ => cells.next().cloned(),
    }
}

/// A table with a row for each peer that ran and a column for each of these that has a figure.
pub(super) fn table(record: &Record, columns: &[Column]) -> String {
    let peers: Vec<&Entry> = record.peers.iter().filter(|entry| entry.fault.is_none()).collect();
    let filled: Vec<&Column> = columns
        .iter()
        .filter(|column| peers.iter().any(|peer| (column.finds)(record, &peer.name).is_some()))
        .collect();
    if filled.is_empty() {
        return String::new();
    }
    let mut text = String::from("| | durable |");
    for column in &filled {
        write!(text, " {} |", column.title).ok();
    }
    write!(text, "\n|---|---|{}\n", "---|".repeat(filled.len())).ok();
    for peer in peers {
        let is_durable = if peer.is_durable() { "yes" } else { "no" };
        write!(text, "| {} | {is_durable} |", peer.title).ok();
        for column in &filled {
            write!(text, " {} |", shown((column.finds)(record, &peer.name))).ok();
        }
        text.push('\n');
    }
    text
}

/// A figure with its range; `~` says that other work shared the machine in each of its runs.
pub(super) fn shown(figure: Option<Figure>) -> String {
    let Some(figure) = figure else {
        return "-".to_owned();
    };
    let mark = if figure.is_disturbed { "~" } else { "" };
    let [median, low, high] = [figure.median, figure.low, figure.high].map(digits);
    if figure.runs == 1 || low == high {
        return format!("{mark}{median}");
    }
    format!("{mark}{median} ({low}-{high})")
}

/// Three digits that count, and a comma between thousands.
pub(super) fn digits(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000.0 {
        return grouped(&format!("{value:.0}"));
    }
    let decimals = match size {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        size if size < 0.000_5 => 0,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn grouped(whole: &str) -> String {
    let (sign, figures) = whole.split_at(whole.find(|c: char| c.is_ascii_digit()).unwrap_or(0));
    let mut text = sign.to_owned();
    for (at, figure) in figures.chars().enumerate() {
        if at > 0 && (figures.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(figure);
    }
    text
}

/// For each column our rows beside the best of the others, and in words where others are ahead.
pub(super) fn verdict(record: &Record, columns: &[Column]) -> String {
    let ours: Vec<&Entry> =
        record.peers.iter().filter(|entry| entry.is_ours() && entry.fault.is_none()).collect();
    if ours.is_empty() {
        return String::new();
    }
    let mut text = String::from("| |");
    for entry in &ours {
        write!(text, " {} |", entry.title).ok();
    }
    let line = "---|".repeat(ours.len());
    write!(text, " best durable peer | best peer |\n|---|{line}---|---|\n").ok();
    let mut behind = String::new();
    for column in columns {
        let durable = best(record, column, |entry| entry.is_durable() && !entry.is_ours());
        let any = best(record, column, |entry| {
            !entry.is_ours() && (entry.is_durable() || !column.is_of_disk)
        });
        let own: Vec<Option<Figure>> =
            ours.iter().map(|entry| (column.finds)(record, &entry.name)).collect();
        if own.iter().all(Option::is_none) || any.is_none() {
            continue;
        }
        write!(text, "| {} |", column.title).ok();
        for (entry, figure) in ours.iter().zip(&own) {
            write!(text, " {} |", figure.map_or_else(|| "-".to_owned(), |own| digits(own.median)))
                .ok();
            if entry.uses_the_sdk() {
                continue;
            }
            let Some((peer, theirs)) = any.filter(|(_, theirs)| is_ahead(column, *theirs, *figure))
            else {
                continue;
            };
            writeln!(
                behind,
                "- {}, {}: {}",
                entry.title,
                column.title,
                lost(peer, theirs, *figure)
            )
            .ok();
        }
        writeln!(text, " {} | {} |", named(durable), named(any)).ok();
    }
    if behind.is_empty() {
        return text;
    }
    let sdk = "through the SDK the client is the wall, and those rows are left out";
    format!("{text}\nA peer is ahead here, durable or not ({sdk}):\n\n{behind}")
}

fn named(best: Option<(&Entry, Figure)>) -> String {
    best.map_or_else(
        || "-".to_owned(),
        |(entry, figure)| format!("{} ({})", digits(figure.median), entry.title),
    )
}

fn is_ahead(column: &Column, theirs: Figure, ours: Option<Figure>) -> bool {
    ours.is_some_and(|ours| match column.is_rate {
        true => theirs.median > ours.median,
        false => theirs.median < ours.median,
    })
}

fn lost(peer: &Entry, theirs: Figure, ours: Option<Figure>) -> String {
    let own = ours.map_or(f64::NAN, |ours| ours.median);
    let durable = if peer.is_durable() { "durable" } else { "not durable" };
    format!("{} against {} of {} ({durable})", digits(own), digits(theirs.median), peer.title)
}

/// The best figure of a column among these peers.
fn best<'a>(
    record: &'a Record,
    column: &Column,
    among: impl Fn(&Entry) -> bool,
) -> Option<(&'a Entry, Figure)> {
    let found = record.peers.iter().filter(|entry| among(entry) && entry.fault.is_none());
    let figures = found.filter_map(|entry| Some((entry, (column.finds)(record, &entry.name)?)));
    figures.reduce(|one, other| if is_ahead(column, other.1, Some(one.1)) { other } else { one })
}

#[cfg(test)]
mod tests {
    use super::super::cells::{Cell, number};
    use super::super::figures::tests::{entry, run};
    use super::super::figures::{Figure, Record, Run};
    use super::{Column, digits, shown, table, verdict};

    #[test]
    fn numbers_have_three_digits_that_count() {
        let cases = [
            (0.0, "0"),
            (0.0004, "0"),
            (0.0123, "0.012"),
            (0.9999, "1.00"),
            (1.0, "1.00"),
            (9.999, "10.0"),
            (12.34, "12.3"),
            (99.99, "100"),
            (123.4, "123"),
            (1_234.5, "1,234"),
            (1_234_567.0, "1,234,567"),
            (-4_321.0, "-4,321"),
        ];
        for (value, expected) in cases {
            assert_eq!(digits(value), expected, "{value}");
        }
    }

    #[test]
    fn a_figure_shows_its_range_and_its_mark() {
        let figure = Figure { median: 2.0, low: 1.0, high: 3.0, runs: 3, is_disturbed: true };
        assert_eq!(shown(Some(figure)), "~2.00 (1.00-3.00)");
        assert_eq!(shown(Some(Figure { runs: 1, is_disturbed: false, ..figure })), "2.00");
        assert_eq!(shown(None), "-");
    }

    fn rate(run: &Run) -> Vec<f64> {
        run.seconds().into_iter().map(|seconds| number(run.cell.n) / seconds).collect()
    }

    #[test]
    fn who_is_ahead_is_said_also_where_it_is_not_us() {
        let fan = Cell::new("fan", 1_000);
        let record = Record {
            peers: vec![entry("cov-a", "yes"), entry("slow", "yes"), entry("fast", "no")],
            runs: vec![
                run("cov-a", &fan, 1.0, 0.0),
                run("slow", &fan, 4.0, 0.0),
                run("fast", &fan, 0.5, 0.0),
            ],
            ..Record::default()
        };
        let columns = [
            Column::cell("fan, per s", "fan", Some(1_000), true, rate),
            Column::cell("chain", "chain", None, true, rate),
        ];
        let text = verdict(&record, &columns);
        assert!(
            text.contains("| fan, per s | 1,000 | 250 (The slow) | 2,000 (The fast) |"),
            "{text}"
        );
        assert!(text.contains("1,000 against 2,000 of The fast (not durable)"), "{text}");
        assert!(!text.contains("chain"), "{text}");
        let rows = table(&record, &columns);
        assert_eq!(rows.lines().count(), 5, "{rows}");
        assert!(rows.contains("| The slow | yes | 250 |"), "{rows}");
    }
}
