//! Where the time of this server goes: the processor time of its threads, of the runners and of the client.
//!
//! Shows tables of [`PEERS`] and keeps nothing: what they say is written into `docs/performance.md` by hand.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::cells::{Cell, number};
use super::peers::Peer;
use super::session::{self, STOP_MAX, Started};
use super::tables::digits;
use super::watch;
use crate::say;

/// The peers that are looked at: their client and their server are ours.
const PEERS: [&str; 2] = ["cov-rust", "cov-python"];

/// Runs of a cell that count. One before them finds new what no later one does.
const RUNS: u64 = 3;

/// Longest that a run may take.
const RUN_MAX: Duration = Duration::from_secs(120);

/// The cells, and what they are called in the head of the table.
fn cells() -> [(Cell, &'static str); 4] {
    [
        (Cell::new("single", 200), "one task"),
        (Cell::new("accept", 1_000), "registered, 1 connection"),
        (Cell::new("fan", 10_000), "a task of a fan of 10,000"),
        (Cell::new("big", 50), "a MB of 50"),
    ]
}

/// What was used up at one moment, or between two of them. Times in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Spent {
    wall: u64,
    runtime: u64,
    writer: u64,
    readers: u64,
    client: u64,
    runners: u64,
    /// Bytes to the disk.
    written: u64,
}

/// A row of the table: for times, microseconds.
type Row = (&'static str, fn(&Spent) -> f64);

const ROWS: [Row; 7] = [
    ("wall", |spent| number(spent.wall) / 1e3),
    ("server: HTTP, owners, admission, frames of runners", |spent| number(spent.runtime) / 1e3),
    ("server: writing thread", |spent| number(spent.writer) / 1e3),
    ("server: reading threads", |spent| number(spent.readers) / 1e3),
    ("client", |spent| number(spent.client) / 1e3),
    ("runners", |spent| number(spent.runners) / 1e3),
    ("bytes written", |spent| number(spent.written)),
];

impl Spent {
    /// What the processes of a peer have used up until now. Wall time is not theirs to say.
    fn until_now(started: &Started) -> anyhow::Result<Self> {
        let subject = &started.subject;
        let server = *subject.roots.first().context("the peer names no server")?;
        let mut spent = Self { written: written(server)?, ..Self::default() };
        for (name, time) in threads(server) {
            *spent.of_thread(&name) += time;
        }
        spent.client = of_process(subject.program);
        let below = watch::descendants(&subject.roots, &subject.mark);
        let ours = [server, subject.program];
        spent.runners = below.into_iter().filter(|pid| !ours.contains(pid)).map(of_process).sum();
        Ok(spent)
    }

    /// Where the time of a thread of the server counts.
    fn of_thread(&mut self, name: &str) -> &mut u64 {
        match name {
            "store-writer" => &mut self.writer,
            name if name.starts_with("store-reader") => &mut self.readers,
            _ => &mut self.runtime,
        }
    }

    /// What was used up since `before`. A thread that has ended in between takes its time with it.
    fn since(&self, before: &Self, wall: Duration) -> Self {
        Self {
            wall: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
            runtime: self.runtime.saturating_sub(before.runtime),
            writer: self.writer.saturating_sub(before.writer),
            readers: self.readers.saturating_sub(before.readers),
            client: self.client.saturating_sub(before.client),
            runners: self.runners.saturating_sub(before.runners),
            written: self.written.saturating_sub(before.written),
        }
    }
}

/// The threads of a process that there are, with the processor time of each. Nanoseconds.
fn threads(pid: u32) -> Vec<(String, u64)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let read = |thread: fs::DirEntry| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        Some((name.trim().to_owned(), times.split(' ').next()?.parse().ok()?))
    };
    threads.filter_map(read).collect()
}

fn of_process(pid: u32) -> u64 {
    threads(pid).into_iter().map(|(_name, time)| time).sum()
}

/// Bytes that a process has had written to the disk.
fn written(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let value = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    value.context("no write_bytes")?.parse().context("write_bytes")
}

/// Runs the cells of [`PEERS`] and shows what they cost.
///
/// # Errors
///
/// When none of them was chosen, or one does not start or does not end a run.
pub(super) fn show(all: &[Peer]) -> anyhow::Result<()> {
    let peers: Vec<&Peer> = all.iter().filter(|peer| PEERS.contains(&peer.name.as_str())).collect();
    anyhow::ensure!(!peers.is_empty(), "--budget looks at none but {}", PEERS.join(" and "));
    for peer in peers {
        let mut started = session::start(peer)?;
        let mut columns = Vec::new();
        for (cell, title) in cells() {
            say::line(&format!("{}: {cell}", peer.title));
            columns.push((title, cell.n, measure(&mut started, &cell)?));
        }
        started.program.stop(STOP_MAX);
        say::line(&format!("\n{}\n\n{}", peer.title, table(&columns)));
    }
    Ok(())
}

/// The costs of [`RUNS`] runs of a cell together.
fn measure(started: &mut Started, cell: &Cell) -> anyhow::Result<Spent> {
    run(started, cell)?;
    let before = Spent::until_now(started)?;
    let mut wall = Duration::ZERO;
    for _ in 0..RUNS {
        wall += run(started, cell)?;
    }
    Ok(Spent::until_now(started)?.since(&before, wall))
}

fn run(started: &mut Started, cell: &Cell) -> anyhow::Result<Duration> {
    let request = json!({"do": "run", "shape": cell.shape, "n": cell.n});
    let answer = started.program.ask(&request, RUN_MAX);
    let answer = answer.map_err(|silence| anyhow::anyhow!("{cell}: {silence:?}"))?;
    let seconds = answer.get("seconds").and_then(Value::as_f64);
    Ok(Duration::from_secs_f64(seconds.with_context(|| format!("{cell}: {answer}"))?))
}

fn table(columns: &[(&str, u64, Spent)]) -> String {
    let mut text = String::from("|");
    for (title, ..) in columns {
        write!(text, " | {title}").ok();
    }
    writeln!(text, " |\n|---{}|", "|---".repeat(columns.len())).ok();
    for (row, value) in ROWS {
        write!(text, "| {row}").ok();
        for (_title, n, spent) in columns {
            write!(text, " | {}", digits(value(spent) / number(n * RUNS))).ok();
        }
        text.push_str(" |\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{RUNS, Spent, table, threads, written};

    #[test]
    fn threads_count_where_they_belong() {
        let mut spent = Spent::default();
        for (name, time) in [("store-writer", 1), ("store-reader-3", 2), ("tokio-rt-worker", 4)] {
            *spent.of_thread(name) += time;
        }
        assert_eq!((spent.writer, spent.readers, spent.runtime), (1, 2, 4));
    }

    #[test]
    fn a_table_has_the_cost_of_one() {
        let before = Spent { runtime: 1_000, ..Spent::default() };
        let after = Spent { runtime: 1_000 + RUNS * 10 * 7_000, written: RUNS * 40, ..before };
        let spent = after.since(&before, Duration::from_micros(RUNS * 10 * 9));
        let text = table(&[("one", 10, spent)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["| | one |", "|---|---|", "| wall | 9.00 |"]);
        assert_eq!(lines[3], "| server: HTTP, owners, admission, frames of runners | 7.00 |");
        assert_eq!(lines.last(), Some(&"| bytes written | 4.00 |"));
    }

    #[test]
    fn a_process_is_seen_with_its_threads() {
        let own = std::process::id();
        assert!(threads(own).iter().any(|(_name, time)| *time > 0));
        written(own).unwrap();
    }
}
