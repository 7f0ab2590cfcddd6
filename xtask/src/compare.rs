//! `compare`: the same shapes of work on this server and on other workflow systems, and `docs/performance.md`.
//!
//! Installs and measures; what a peer is and how it does a shape is in `benches/compare`. Judges nothing: a slow run is
//! a figure, and a peer that fails is a remark.

mod budget;
mod cells;
mod figures;
mod page;
mod peers;
mod program;
mod session;
mod tables;
mod watch;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use self::figures::Record;
use self::peers::Peer;
use self::session::Plan;
use crate::{repo, run, say};

/// What the command takes.
const USAGE: &str = "compare [--peers A,B] [--shapes A,B] [--rounds N] [--minutes N] [--quick] [--write] [--add] | --budget | --page";

/// How long an idle server is looked at.
const IDLE: Duration = Duration::from_secs(20);
const IDLE_QUICK: Duration = Duration::from_secs(1);

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    peers: Vec<String>,
    shapes: Vec<String>,
    rounds: u32,
    /// No further round of a peer begins after so long; the first one is whole.
    minutes: u64,
    is_quick: bool,
    /// Write the page although not everything ran.
    write: bool,
    /// Keep the figures of other peers from the last comparison.
    add: bool,
    /// Where our own programs are, if not to be built.
    programs: Option<PathBuf>,
    /// Only write the page, from the figures that are there.
    only_page: bool,
    /// Only show where the time of this server goes.
    only_budget: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut options = Self {
            peers: Vec::new(),
            shapes: Vec::new(),
            rounds: 3,
            minutes: 50,
            is_quick: false,
            write: false,
            add: false,
            programs: None,
            only_page: false,
            only_budget: false,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().with_context(|| format!("{argument} needs a value: {USAGE}"));
            match argument.as_str() {
                "--peers" => options.peers = list(value()?),
                "--shapes" => options.shapes = list(value()?),
                "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
                "--minutes" => options.minutes = value()?.parse().context("--minutes")?,
                "--quick" => options.is_quick = true,
                "--write" => options.write = true,
                "--add" => options.add = true,
                "--programs" => options.programs = Some(std::path::absolute(value()?)?),
                "--page" => options.only_page = true,
                "--budget" => options.only_budget = true,
                other => anyhow::bail!("no option `{other}`: {USAGE}"),
            }
        }
        anyhow::ensure!(options.rounds > 0, "--rounds: at least one");
        if options.is_quick {
            options.rounds = 1;
        }
        Ok(options)
    }

    fn is_whole(&self) -> bool {
        self.peers.is_empty() && self.shapes.is_empty() && !self.is_quick
    }
}

fn list(value: &str) -> Vec<String> {
    value.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
}

/// Runs the comparison.
///
/// # Errors
///
/// When an option means nothing, our own programs do not build, or the page cannot be written. A peer that cannot be
/// installed or fails is no error.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let options = Options::parse(arguments)?;
    if options.only_page {
        return page::write(&load()?);
    }
    let began = Instant::now();
    let release = repo::target().join("release");
    let all = peers::all(options.programs.as_deref().unwrap_or(&release))?;
    let order: Vec<String> = all.iter().map(|peer| peer.name.clone()).collect();
    let chosen = chosen(all, &options.peers)?;
    if options.programs.is_none() && chosen.iter().any(Peer::is_ours) {
        build()?;
    }
    if options.only_budget {
        return budget::show(&chosen);
    }
    let plan = plan(&options)?;
    let mut record = Record {
        machine: machine(),
        rounds: options.rounds,
        peers: chosen.iter().map(session::entry).collect(),
        ..Record::default()
    };
    let ready = install(&chosen, &mut record);
    std::fs::remove_dir_all(folder().join("logs")).ok();
    for round in 1..=options.rounds {
        for peer in &ready {
            if round > 1 && began.elapsed() > Duration::from_secs(60 * options.minutes) {
                say::line(&format!("round {round}, {}: there is no time left", peer.title));
                continue;
            }
            say::line(&format!("round {round}, {}", peer.title));
            let done = session::run(&plan, peer, round, &mut record);
            std::fs::remove_dir_all(folder().join("data").join(&peer.name)).ok();
            if let Err(fault) = done {
                remark(&mut record, peer, &fault);
            }
            save(&record, "last.json")?;
        }
    }
    finish(&options, record, &order)?;
    say::line(&format!("compare: {}", run::seconds(began.elapsed())));
    Ok(())
}

fn finish(options: &Options, record: Record, order: &[String]) -> anyhow::Result<()> {
    let mut whole = if options.add { load()? } else { Record::default() };
    whole.replace(record);
    whole.sort(order);
    let text = page::generated(&whole);
    std::fs::write(folder().join("page.md"), &text)?;
    if options.is_whole() || options.write {
        save(&whole, "raw.json")?;
        return page::write(&whole);
    }
    say::line(&text);
    say::line("not everything ran, so the page stays as it is: --write writes it all the same");
    Ok(())
}

fn chosen(all: Vec<Peer>, names: &[String]) -> anyhow::Result<Vec<Peer>> {
    for name in names {
        let known: Vec<&str> = all.iter().map(|peer| peer.name.as_str()).collect();
        anyhow::ensure!(
            known.contains(&name.as_str()),
            "no peer `{name}`: there are {}",
            known.join(", ")
        );
    }
    Ok(all.into_iter().filter(|peer| names.is_empty() || names.contains(&peer.name)).collect())
}

fn plan(options: &Options) -> anyhow::Result<Plan> {
    let mut cells = cells::all(options.is_quick);
    for shape in &options.shapes {
        let is_known = cells.iter().any(|cell| cell.shape == *shape || cell.to_string() == *shape);
        anyhow::ensure!(is_known, "no shape `{shape}`");
    }
    let asked = |cell: &cells::Cell| {
        options.shapes.contains(&cell.shape) || options.shapes.contains(&cell.to_string())
    };
    cells.retain(|cell| options.shapes.is_empty() || asked(cell));
    let idle = if options.is_quick { IDLE_QUICK } else { IDLE };
    Ok(Plan { cells, units: watch::Units::of_this_machine()?, idle, is_quick: options.is_quick })
}

/// Our programs, as they are released, and the peer program in Rust.
fn build() -> anyhow::Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--release", "--locked", "--all-features", "--bins"]);
    for package in ["cov-server", "cov-cli", "cov-benches"] {
        command.args(["--package", package]);
    }
    command.args(["--example", "compare_peer"]).current_dir(repo::root());
    run::logged("compare build", &mut command).map(|_log| ())
}

/// Makes the environments ahead of all measuring, and returns the peers that have one.
fn install(peers: &[Peer], record: &mut Record) -> Vec<Peer> {
    let mut ready = Vec::new();
    for peer in peers {
        match peer.environment() {
            Ok(_folder) => ready.push(peer.clone()),
            Err(fault) => remark(record, peer, &fault.context("it cannot be installed")),
        }
    }
    ready
}

fn remark(record: &mut Record, peer: &Peer, fault: &anyhow::Error) {
    let text = format!("{fault:#}");
    say::line(&format!("  {}: {text}", peer.name));
    let has_run = record.runs.iter().any(|run| run.peer == peer.name && run.seconds().is_some());
    if let Some(entry) = record.peers.iter_mut().find(|entry| entry.name == peer.name && !has_run) {
        entry.fault = Some(text);
    }
}

/// What is said of the machine.
fn machine() -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let said = |program: &str, arguments: &[&str]| {
        run::text(Command::new(program).args(arguments)).unwrap_or_default().trim().to_owned()
    };
    let memory = value(&read("/proc/meminfo"), "MemTotal");
    let memory: f64 = memory.split(' ').next().and_then(|kb| kb.parse().ok()).unwrap_or(0.0);
    vec![
        format!(
            "{cores} cores ({}), {:.0} GiB",
            value(&read("/proc/cpuinfo"), "model name"),
            memory / 1_048_576.0
        ),
        format!(
            "{} {}, file system {}",
            said("uname", &["-s"]),
            said("uname", &["-r"]),
            file_system()
        ),
        format!(
            "commit {} of this server; taken on {}",
            said("git", &["rev-parse", "--short", "HEAD"]),
            said("date", &["-u", "+%-d %B %Y, %H:%M UTC"])
        ),
        format!(
            "every peer has {} workers, and the machine for itself while it runs",
            peers::WORKERS
        ),
    ]
}

fn file_system() -> String {
    let target = repo::target();
    let kind = Command::new("stat").args(["-f", "-c", "%T"]).arg(target).output();
    kind.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn folder() -> PathBuf {
    repo::target().join("compare")
}

fn save(record: &Record, name: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder())?;
    std::fs::write(folder().join(name), serde_json::to_vec_pretty(record)?)?;
    Ok(())
}

/// The figures of the last comparison that was written to the page.
fn load() -> anyhow::Result<Record> {
    let path = folder().join("raw.json");
    let bytes = std::fs::read(&path).with_context(|| format!("no figures: {}", path.display()))?;
    Ok(serde_json::from_slice(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::{Options, plan};

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_are_read() {
        let options =
            Options::parse(&words("--peers a,b --rounds 5 --shapes chain,fan100")).unwrap();
        assert_eq!((options.peers.len(), options.rounds, options.is_whole()), (2, 5, false));
        let cells = plan(&options).unwrap().cells;
        let names: Vec<String> = cells.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["chain50", "fan100"]);
        assert!(Options::parse(&[]).unwrap().is_whole());
        assert_eq!(Options::parse(&words("--quick --rounds 4")).unwrap().rounds, 1);
        for wrong in ["--rounds 0", "--rounds", "--round 2", "--peers"] {
            assert!(Options::parse(&words(wrong)).is_err(), "{wrong}");
        }
        assert!(Options::parse(&words("--budget")).unwrap().only_budget);
        let unknown = Options::parse(&words("--shapes circle")).unwrap();
        assert!(plan(&unknown).is_err());
    }
}
