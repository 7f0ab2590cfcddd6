//! What was measured, as it is kept in `target/compare/raw.json`, and the statistics of it.
//!
//! Pure: no clock, no process. Knows nothing about tables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cells::{Cell, number};
use super::watch::Watched;

/// A run is disturbed when others took more than this share of a core.
const OTHERS_SHARE_MAX: f64 = 0.15;

/// The kernel's ticks say nothing of a run that is shorter. It is judged by all short ones of its peer and round.
const JUDGED_ALONE_MIN: f64 = 1.0;

/// Everything of one comparison.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) machine: Vec<String>,
    pub(super) rounds: u32,
    /// In the order of the tables.
    pub(super) peers: Vec<Entry>,
    pub(super) starts: Vec<Start>,
    pub(super) runs: Vec<Run>,
}

/// What is said of a peer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) durable: String,
    pub(super) tasks: String,
    pub(super) timed: String,
    pub(super) versions: BTreeMap<String, String>,
    pub(super) settings: String,
    /// Why it did not run at all.
    pub(super) fault: Option<String>,
}

impl Entry {
    pub(super) fn is_durable(&self) -> bool {
        self.durable.starts_with("yes")
    }

    /// What is measured is mostly the SDK.
    pub(super) fn uses_the_sdk(&self) -> bool {
        self.timed.contains("SDK")
    }

    pub(super) fn is_ours(&self) -> bool {
        self.name.starts_with("cov-")
    }
}

/// One start of a peer, and what it costs when it has nothing to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) peer: String,
    pub(super) round: u32,
    pub(super) seconds: f64,
    pub(super) rss_mb: f64,
    /// Of one core. `None` in rounds in which it is not looked at.
    pub(super) idle_cpu_percent: Option<f64>,
    /// What else happened meanwhile, of one core.
    pub(super) idle_other_percent: Option<f64>,
    /// What the data folder grew by meanwhile. KB.
    pub(super) idle_disk_kb: Option<f64>,
}

/// One run of one cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) peer: String,
    pub(super) cell: Cell,
    pub(super) round: u32,
    pub(super) outcome: Outcome,
    pub(super) watched: Watched,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// As asked. Each of `samples` is one of n small runs; otherwise there is one, `seconds`.
    Done { seconds: f64, samples: Vec<f64>, figures: BTreeMap<String, f64> },
    /// It failed, or took too long, or was not tried.
    Missing(String),
    /// The peer has no such thing.
    Unsupported(String),
}

impl Run {
    /// Seconds of the whole run, if it was done.
    pub(super) fn seconds(&self) -> Option<f64> {
        match &self.outcome {
            Outcome::Done { seconds, .. } => Some(*seconds),
            Outcome::Missing(_) | Outcome::Unsupported(_) => None,
        }
    }
}

/// What stands in one cell of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figure {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) runs: usize,
    /// Each of the runs shared the machine with other work.
    pub(super) is_disturbed: bool,
}

/// The median of these, with the smallest and the largest; `None` of none.
pub(super) fn figure(mut values: Vec<f64>, is_disturbed: bool) -> Option<Figure> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let (low, high) = (*values.first()?, *values.last()?);
    Some(Figure { median: percentile(&values, 50)?, low, high, runs: values.len(), is_disturbed })
}

/// A percentile of sorted values; the 50th of an even number of them lies between the two in the middle.
pub(super) fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = last * percent;
    let (low, high) = (sorted.get(at / 100)?, sorted.get(at.div_ceil(100))?);
    Some(low + (high - low) * number((at % 100) as u64) / 100.0)
}

impl Record {
    /// Whether other work shared the machine with a run.
    pub(super) fn is_disturbed(&self, run: &Run) -> bool {
        let share = |runs: &[&Run]| {
            let sum =
                |of: fn(&Watched) -> f64| runs.iter().map(|run| of(&run.watched)).sum::<f64>();
            sum(|watched| watched.other_cpu_s) > OTHERS_SHARE_MAX * sum(|watched| watched.wall_s)
        };
        if run.watched.wall_s >= JUDGED_ALONE_MIN {
            return share(&[run]);
        }
        let is_like = |other: &&Run| {
            other.peer == run.peer
                && other.round == run.round
                && other.watched.wall_s < JUDGED_ALONE_MIN
        };
        share(&self.runs.iter().filter(is_like).collect::<Vec<_>>())
    }

    /// The runs of a cell that were done: the undisturbed ones, if there are any.
    pub(super) fn done(&self, peer: &str, cell: &Cell) -> (Vec<&Run>, bool) {
        let done = |run: &&Run| run.peer == peer && run.cell == *cell && run.seconds().is_some();
        let all: Vec<&Run> = self.runs.iter().filter(done).collect();
        let quiet: Vec<&Run> = all.iter().copied().filter(|run| !self.is_disturbed(run)).collect();
        let is_disturbed = quiet.is_empty();
        (if is_disturbed { all } else { quiet }, is_disturbed)
    }

    /// A figure of a cell: the median over its runs of what `value` finds in each.
    pub(super) fn of_cell(
        &self,
        peer: &str,
        cell: &Cell,
        value: impl Fn(&Run) -> Vec<f64>,
    ) -> Option<Figure> {
        let (runs, is_disturbed) = self.done(peer, cell);
        figure(runs.into_iter().flat_map(value).collect(), is_disturbed)
    }

    /// A figure of the starts of a peer.
    pub(super) fn of_starts(
        &self,
        peer: &str,
        value: impl Fn(&Start) -> Option<f64>,
    ) -> Option<Figure> {
        let starts = self.starts.iter().filter(|start| start.peer == peer);
        figure(starts.filter_map(value).collect(), false)
    }

    /// Puts the peers into this order; others follow.
    pub(super) fn sort(&mut self, order: &[String]) {
        let place = |entry: &Entry| order.iter().position(|name| *name == entry.name);
        self.peers.sort_by_key(|entry| place(entry).unwrap_or(order.len()));
    }

    /// Takes in what a later comparison of some peers found, in place of what was there of them.
    pub(super) fn replace(&mut self, later: Record) {
        let is_later = |name: &str| later.peers.iter().any(|entry| entry.name == name);
        self.starts.retain(|start| !is_later(&start.peer));
        self.runs.retain(|run| !is_later(&run.peer));
        self.starts.extend(later.starts);
        self.runs.extend(later.runs);
        for entry in later.peers {
            match self.peers.iter_mut().find(|known| known.name == entry.name) {
                Some(known) => *known = entry,
                None => self.peers.push(entry),
            }
        }
        self.machine = later.machine;
        self.rounds = self.rounds.max(later.rounds);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::super::cells::Cell;
    use super::super::watch::Watched;
    use super::{Entry, Outcome, Record, Run, figure, percentile};

    pub(in super::super) fn run(peer: &str, cell: &Cell, seconds: f64, other_cpu_s: f64) -> Run {
        let watched = Watched { wall_s: seconds, other_cpu_s, cpu_s: 0.5, ..Watched::default() };
        let outcome = Outcome::Done { seconds, samples: Vec::new(), figures: BTreeMap::new() };
        Run { peer: peer.to_owned(), cell: cell.clone(), round: 1, outcome, watched }
    }

    pub(in super::super) fn entry(name: &str, durable: &str) -> Entry {
        let (name, title) = (name.to_owned(), format!("The {name}"));
        Entry { name, title, durable: durable.to_owned(), ..Entry::default() }
    }

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn medians_and_percentiles() {
        let of = figure(vec![3.0, 1.0, 2.0], false).unwrap();
        assert!(close(of.median, 2.0) && close(of.low, 1.0) && close(of.high, 3.0));
        assert!(close(figure(vec![4.0, 1.0], false).unwrap().median, 2.5));
        assert!(figure(vec![f64::NAN], false).is_none());
        let hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert!(close(percentile(&hundred, 99).unwrap(), 99.0));
        assert!(close(percentile(&[7.0], 99).unwrap(), 7.0));
        assert!(percentile(&[], 50).is_none());
    }

    #[test]
    fn quiet_runs_count_where_there_are_any() {
        let cell = Cell::new("chain", 50);
        let seconds = |run: &Run| run.seconds().into_iter().collect::<Vec<_>>();
        let mut record = Record { runs: vec![run("a", &cell, 9.0, 4.0)], ..Record::default() };
        let only = record.of_cell("a", &cell, seconds).unwrap();
        assert!(only.is_disturbed && close(only.median, 9.0));
        record.runs.push(run("a", &cell, 2.0, 0.0));
        record.runs.push(run("a", &cell, 3.0, 0.1));
        let quiet = record.of_cell("a", &cell, seconds).unwrap();
        assert!(!quiet.is_disturbed && close(quiet.median, 2.5) && quiet.runs == 2);
        assert!(record.of_cell("b", &cell, seconds).is_none());
    }

    #[test]
    fn short_runs_are_judged_together() {
        let (short, long) = (Cell::new("single", 1), Cell::new("chain", 50));
        let record = Record {
            runs: vec![
                run("a", &short, 0.1, 0.04),
                run("a", &short, 0.8, 0.0),
                run("a", &long, 10.0, 1.6),
                run("a", &long, 10.0, 1.4),
                run("b", &short, 0.1, 0.04),
            ],
            ..Record::default()
        };
        let found: Vec<bool> = record.runs.iter().map(|run| record.is_disturbed(run)).collect();
        assert_eq!(found, [false, false, true, false, true]);
    }

    #[test]
    fn a_later_comparison_takes_the_place_of_the_same_peers_only() {
        let cell = Cell::new("chain", 50);
        let of = |names: &[&str], seconds| Record {
            peers: names.iter().map(|name| entry(name, "no")).collect(),
            runs: names.iter().map(|name| run(name, &cell, seconds, 0.0)).collect(),
            ..Record::default()
        };
        let mut record = of(&["a", "b"], 1.0);
        record.replace(of(&["b", "c"], 2.0));
        let seconds: Vec<(&str, f64)> =
            record.runs.iter().map(|run| (run.peer.as_str(), run.seconds().unwrap())).collect();
        assert_eq!(seconds, [("a", 1.0), ("b", 2.0), ("c", 2.0)]);
        assert_eq!(record.peers.len(), 3);
        record.sort(&["c".to_owned(), "a".to_owned()]);
        let names: Vec<&str> = record.peers.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["c", "a", "b"]);
    }
}
