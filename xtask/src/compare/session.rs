//! One peer in one round: started, looked at while idle, asked for its cells, stopped.
//!
//! What a peer cannot do becomes a remark in the record; it never ends the comparison.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::cells::{self, Cell, Earlier};
use super::figures::{Entry, Outcome, Record, Run, Start};
use super::peers::Peer;
use super::program::{Program, Silence};
use super::watch::{self, Subject, Units, Watched};
use crate::{repo, say};

/// How long a server may take to start, or to stop.
const START_MAX: Duration = Duration::from_secs(120);
pub(super) const STOP_MAX: Duration = Duration::from_secs(60);

/// What an answer may take longer than the run it is about: making 50 MB, checking what came back.
const BESIDE: u64 = 15;

/// Between the start and the look at an idle server.
const SETTLED: Duration = Duration::from_secs(3);

/// The cell of the first task after a start.
const FIRST: &str = "first";

/// How the rounds are run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) cells: Vec<Cell>,
    pub(super) units: Units,
    /// How long an idle server is looked at, in the first round.
    pub(super) idle: Duration,
    pub(super) is_quick: bool,
}

/// A peer program that has started, and what it said then.
pub(super) struct Started {
    pub(super) program: Program,
    pub(super) subject: Subject,
    answer: Value,
}

/// Starts a peer's program with an empty folder, and the peer with it.
///
/// # Errors
///
/// When the peer cannot be installed or started.
pub(super) fn start(peer: &Peer) -> anyhow::Result<Started> {
    let data = data_folder(&peer.name)?;
    let mut command = peer.command(&data)?;
    let log = repo::target().join("compare").join("logs").join(format!("{}.log", peer.name));
    std::fs::create_dir_all(log.parent().context("a log has a folder")?)?;
    let log = File::options().create(true).append(true).open(&log)?;
    let mark = format!("COMPARE_DATA={}", data.display());
    let mut program = Program::start(&mut command, &mark, log)?;
    let answer = match program.ask(&json!({"do": "start"}), START_MAX) {
        Ok(answer) => answer,
        Err(Silence::TooLong) => anyhow::bail!("it does not start within {START_MAX:?}"),
        Err(Silence::Broken(why)) => anyhow::bail!("it does not start: {why}"),
    };
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        anyhow::bail!("it does not start: {error}");
    }
    let roots = numbers(&answer, "pids");
    program.owns(&roots);
    let data = answer.get("data").and_then(Value::as_str).map(PathBuf::from);
    let subject = Subject { program: program.id(), roots, data, mark };
    Ok(Started { program, subject, answer })
}

/// Runs one peer's cells of one round.
///
/// # Errors
///
/// When the peer cannot be installed or started.
pub(super) fn run(plan: &Plan, peer: &Peer, round: u32, record: &mut Record) -> anyhow::Result<()> {
    let mut session = Session { plan, peer, round, record };
    let running = session.start(true)?;
    let mut started = session.first_task(running);
    for cell in peer.cells(&plan.cells) {
        if !session.is_due(&cell) {
            continue;
        }
        if let Some(why) = session.out_of_reach(&cell) {
            session.keep(&cell, Outcome::Missing(why), Watched::default());
            continue;
        }
        let running = match started.take() {
            Some(running) => running,
            None => session.start(false)?,
        };
        started = session.cell(&cell, running);
    }
    if let Some(running) = started {
        running.program.stop(STOP_MAX);
    }
    Ok(())
}

struct Session<'a> {
    plan: &'a Plan,
    peer: &'a Peer,
    round: u32,
    record: &'a mut Record,
}

impl Session<'_> {
    fn start(&mut self, is_first: bool) -> anyhow::Result<Started> {
        let started = start(self.peer)?;
        self.describe(&started.answer);
        if is_first {
            let start = self.look_at_idle(&started);
            self.record.starts.push(start);
        }
        Ok(started)
    }

    /// Runs a single task, so that no later run waits for workers that are not up yet. What that takes is kept, except in
    /// the first round: an idle server has had time for it.
    fn first_task(&mut self, mut started: Started) -> Option<Started> {
        let request = json!({"do": "run", "shape": "single", "n": 1});
        let ask = || started.program.ask(&request, START_MAX);
        let (answer, watched) = watch::during(self.plan.units, &started.subject, ask);
        let answer = answer.ok()?;
        if self.round > 1 {
            self.keep(&Cell::new(FIRST, 1), outcome(&answer), watched);
        }
        Some(started)
    }

    fn describe(&mut self, answer: &Value) {
        let peer = self.peer;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let versions = answer.get("versions").and_then(Value::as_object);
        let versions =
            versions.into_iter().flatten().map(|(name, value)| (name.clone(), text(value)));
        let entry = Entry {
            versions: versions.collect(),
            settings: answer.get("settings").map(text).unwrap_or_default(),
            ..entry(peer)
        };
        if let Some(known) = self.record.peers.iter_mut().find(|known| known.name == peer.name) {
            *known = entry;
        }
    }

    fn look_at_idle(&self, started: &Started) -> Start {
        let subject = &started.subject;
        let mut start = Start {
            peer: self.peer.name.clone(),
            round: self.round,
            seconds: started.answer.get("seconds").and_then(Value::as_f64).unwrap_or(f64::NAN),
            ..Start::default()
        };
        if self.round > 1 {
            let ((), watched) = watch::during(self.plan.units, subject, || ());
            start.rss_mb = watched.rss_peak_mb;
            return start;
        }
        std::thread::sleep(SETTLED.min(self.plan.idle));
        let ((), watched) =
            watch::during(self.plan.units, subject, || std::thread::sleep(self.plan.idle));
        start.rss_mb = watched.rss_peak_mb;
        start.idle_cpu_percent = Some(100.0 * watched.cpu_s / watched.wall_s);
        start.idle_other_percent = Some(100.0 * watched.other_cpu_s / watched.wall_s);
        start.idle_disk_kb = Some(watched.disk_kb);
        start
    }

    /// Whether a cell runs in this round.
    fn is_due(&self, cell: &Cell) -> bool {
        let runs = self.record.runs.iter();
        let own: Vec<&Run> =
            runs.filter(|run| run.peer == self.peer.name && run.cell == *cell).collect();
        if own.iter().any(|run| run.seconds().is_none()) {
            return false;
        }
        let earlier =
            Earlier { runs: own.len(), seconds: own.iter().filter_map(|run| run.seconds()).sum() };
        cells::is_repeated(earlier, self.peer.once.contains(&cell.to_string()))
    }

    fn limit(&self, cell: &Cell) -> u64 {
        self.peer.seconds_max.get(&cell.to_string()).copied().unwrap_or(cells::SECONDS_MAX)
    }

    /// Why a size is not tried: what the largest smaller one says.
    fn out_of_reach(&self, cell: &Cell) -> Option<String> {
        let smaller = |run: &&Run| {
            run.peer == self.peer.name && run.cell.shape == cell.shape && run.cell.n < cell.n
        };
        let last = self.record.runs.iter().filter(smaller).max_by_key(|run| run.cell.n)?;
        match last.seconds() {
            Some(seconds) => cells::too_large(last.cell.n, seconds, cell.n, self.limit(cell)),
            None => Some(format!("{} did not end well", last.cell.n)),
        }
    }

    /// Runs a cell, more than once if it is short. Returns the program, unless it had to be ended.
    fn cell(&mut self, cell: &Cell, mut started: Started) -> Option<Started> {
        let limit = Duration::from_secs(self.limit(cell) + BESIDE);
        let request = json!({"do": "run", "shape": cell.shape, "n": cell.n});
        let mut here = Earlier::default();
        loop {
            let ask = || started.program.ask(&request, limit);
            let (answer, watched) = watch::during(self.plan.units, &started.subject, ask);
            let (outcome, is_alive) = match answer {
                Ok(answer) => (outcome(&answer), true),
                Err(Silence::TooLong) => {
                    (Outcome::Missing(format!("not within {} s", self.limit(cell))), false)
                }
                Err(Silence::Broken(why)) => (Outcome::Missing(why), false),
            };
            let wall_s = watched.wall_s;
            let is_done = matches!(outcome, Outcome::Done { .. });
            self.keep(cell, outcome, watched);
            here = Earlier { runs: here.runs + 1, seconds: here.seconds + wall_s };
            if !is_alive {
                return None;
            }
            if !is_done || self.plan.is_quick || !cells::once_more(here) {
                return Some(started);
            }
        }
    }

    fn keep(&mut self, cell: &Cell, outcome: Outcome, watched: Watched) {
        let run = Run {
            peer: self.peer.name.clone(),
            cell: cell.clone(),
            round: self.round,
            outcome,
            watched,
        };
        let said = match &run.outcome {
            Outcome::Done { seconds, .. } => format!("{seconds:.4} s"),
            Outcome::Missing(why) => why.clone(),
            Outcome::Unsupported(why) => format!("no such thing: {why}"),
        };
        say::line(&format!("  {} {cell}: {said}", run.peer));
        self.record.runs.push(run);
    }
}

/// What is known of a peer before it has run.
pub(super) fn entry(peer: &Peer) -> Entry {
    Entry {
        name: peer.name.clone(),
        title: peer.title.clone(),
        durable: peer.durable.clone(),
        tasks: peer.tasks.clone(),
        timed: peer.timed.clone(),
        ..Entry::default()
    }
}

/// An empty folder for what a peer writes.
fn data_folder(name: &str) -> anyhow::Result<PathBuf> {
    let folder = repo::target().join("compare").join("data").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

fn numbers(answer: &Value, name: &str) -> Vec<u32> {
    let list = answer.get(name).and_then(Value::as_array);
    let numbers = list.into_iter().flatten().filter_map(Value::as_u64);
    numbers.filter_map(|number| u32::try_from(number).ok()).collect()
}

/// Reads the answer to `run`.
fn outcome(answer: &Value) -> Outcome {
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        return Outcome::Missing(format!("it failed: {error}"));
    }
    if let Some(why) = answer.get("unsupported").and_then(Value::as_str) {
        return Outcome::Unsupported(why.to_owned());
    }
    let samples = answer.get("samples").and_then(Value::as_array);
    let samples: Vec<f64> = samples.into_iter().flatten().filter_map(Value::as_f64).collect();
    let seconds = answer.get("seconds").and_then(Value::as_f64);
    let Some(seconds) = seconds else {
        return Outcome::Missing("an answer without `seconds`".to_owned());
    };
    let members = answer.as_object().into_iter().flatten();
    let figures: BTreeMap<String, f64> = members
        .filter(|(name, _)| *name != "seconds")
        .filter_map(|(name, value)| value.as_f64().map(|value| (name.clone(), value)))
        .collect();
    Outcome::Done { seconds, samples, figures }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::figures::Outcome;
    use super::{numbers, outcome};

    #[test]
    fn an_answer_is_done_or_says_why_not() {
        let answer = json!({"seconds": 2.0, "samples": [0.5, 1.5], "server_s": 0.25});
        let Outcome::Done { seconds, samples, figures } = outcome(&answer) else {
            panic!("not done");
        };
        assert_eq!(
            (seconds, samples, figures["server_s"], figures.len()),
            (2.0, vec![0.5, 1.5], 0.25, 1)
        );
        let missing = |answer| matches!(outcome(&answer), Outcome::Missing(_));
        assert!(missing(json!({"error": "no"})) && missing(json!({"second": 1})));
        let no = outcome(&json!({"seconds": 0.0, "unsupported": "why"}));
        assert_eq!(no, Outcome::Unsupported("why".to_owned()));
    }

    #[test]
    fn process_ids_are_numbers() {
        assert_eq!(numbers(&json!({"pids": [4, 5, -1, "x"]}), "pids"), [4, 5]);
        assert!(numbers(&json!({}), "pids").is_empty());
    }
}
