//! Looks at processes from outside: memory, CPU, bytes on disk, and what else the machine did.
//!
//! Reads `/proc` and folders, changes nothing. What it finds is as exact as the kernel's ticks, mostly 10 ms.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::run;

/// How often memory is looked at while a cell runs: a look costs one to two milliseconds.
const LOOK: Duration = Duration::from_millis(100);

/// Size of a block in what the file system says of a file. Bytes.
const BLOCK: u64 = 512;

/// Who takes on processes that were left by their parents.
const INIT: u32 = 1;

/// What was seen from outside during one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Watched {
    /// From the request to the answer, with what the peer's own seconds leave out.
    pub(super) wall_s: f64,
    /// CPU seconds of the server and its workers.
    pub(super) cpu_s: f64,
    /// CPU seconds of the peer program, where it is not the server itself.
    pub(super) client_cpu_s: f64,
    /// CPU seconds that the machine spent on neither.
    pub(super) other_cpu_s: f64,
    /// The most memory that server and workers had together at a look. Shared pages count in each process.
    pub(super) rss_peak_mb: f64,
    /// What the data folder grew by. KB.
    pub(super) disk_kb: f64,
    /// The load of the machine over one minute, when the run began.
    pub(super) load: f64,
}

/// The processes of a peer, and where it writes.
#[derive(Debug, Clone, Default)]
pub(super) struct Subject {
    /// The peer program.
    pub(super) program: u32,
    /// The roots of the server and the workers.
    pub(super) roots: Vec<u32>,
    pub(super) data: Option<PathBuf>,
    /// Stands in the environment of all that the program starts; finds what was left by its parent.
    pub(super) mark: String,
}

/// How to read `/proc` on this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units {
    ticks_per_s: f64,
    page_mb: f64,
}

impl Units {
    /// Asks the system.
    ///
    /// # Errors
    ///
    /// When `getconf` is missing.
    pub(super) fn of_this_machine() -> anyhow::Result<Self> {
        Ok(Self { ticks_per_s: getconf("CLK_TCK")?, page_mb: getconf("PAGESIZE")? / 1_048_576.0 })
    }
}

fn getconf(name: &str) -> anyhow::Result<f64> {
    let text = run::text(Command::new("getconf").arg(name))?;
    text.trim().parse().with_context(|| format!("getconf {name}: {text}"))
}

/// One process, as `/proc` shows it.
#[derive(Debug, Clone, PartialEq)]
struct Process {
    pid: u32,
    parent: u32,
    /// It has ended, and nobody has asked yet how.
    is_zombie: bool,
    /// Of itself. Ticks.
    own: f64,
    /// Of children that have ended and were waited for. Ticks.
    children: f64,
    pages: f64,
}

/// Reads one line of `/proc/<pid>/stat`. The name of the program may hold anything, also brackets.
fn parse_stat(line: &str) -> Option<Process> {
    let pid = line.split(' ').next()?.parse().ok()?;
    let rest: Vec<&str> = line.get(line.rfind(')')? + 2..)?.split_whitespace().collect();
    let number = |at: usize| rest.get(at).and_then(|text| text.parse::<f64>().ok());
    Some(Process {
        pid,
        parent: rest.get(1)?.parse().ok()?,
        is_zombie: *rest.first()? == "Z",
        own: number(11)? + number(12)?,
        children: number(13)? + number(14)?,
        pages: number(21)?,
    })
}

fn all_processes() -> BTreeMap<u32, Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            entry.file_name().to_string_lossy().starts_with(|c: char| c.is_ascii_digit())
        })
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|line| parse_stat(&line))
        .map(|process| (process.pid, process))
        .collect()
}

/// The processes below these, and these.
fn tree(all: &BTreeMap<u32, Process>, roots: &[u32]) -> BTreeSet<u32> {
    let mut found: BTreeSet<u32> =
        roots.iter().copied().filter(|root| all.contains_key(root)).collect();
    loop {
        let children: Vec<u32> = all
            .values()
            .filter(|process| found.contains(&process.parent) && !found.contains(&process.pid))
            .map(|process| process.pid)
            .collect();
        if children.is_empty() {
            return found;
        }
        found.extend(children);
    }
}

/// Processes that were left by their parents and have this in their environment.
fn orphans(all: &BTreeMap<u32, Process>, mark: &str) -> Vec<u32> {
    let is_marked = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let left = all.values().filter(|process| process.parent == INIT).map(|process| process.pid);
    left.filter(is_marked).collect()
}

/// All processes that a program started and that still run, and itself.
pub(super) fn descendants(roots: &[u32], mark: &str) -> BTreeSet<u32> {
    let all = all_processes();
    let mut roots = roots.to_vec();
    roots.extend(orphans(&all, mark));
    let mut found = tree(&all, &roots);
    found.retain(|pid| all.get(pid).is_some_and(|process| !process.is_zombie));
    found
}

/// What the machine and a peer had used up at one moment. Seconds of CPU.
#[derive(Debug, Clone, Copy)]
struct Used {
    server: f64,
    client: f64,
    machine: f64,
    rss_mb: f64,
}

fn used(units: Units, subject: &Subject) -> Used {
    let all = all_processes();
    let mut roots = subject.roots.clone();
    roots.extend(orphans(&all, &subject.mark));
    let server = tree(&all, &roots);
    roots.extend([subject.program, std::process::id()]);
    let everything = tree(&all, &roots);
    let ticks = |set: &BTreeSet<u32>| -> f64 {
        set.iter().filter_map(|pid| all.get(pid)).map(|one| one.own + one.children).sum()
    };
    let pages: f64 = server.iter().filter_map(|pid| all.get(pid)).map(|one| one.pages).sum();
    let client: BTreeSet<u32> = everything.difference(&server).copied().collect();
    Used {
        server: ticks(&server) / units.ticks_per_s,
        client: ticks(&client) / units.ticks_per_s,
        machine: machine_ticks().unwrap_or(0.0) / units.ticks_per_s,
        rss_mb: pages * units.page_mb,
    }
}

/// What all cores did that was not waiting. Ticks.
fn machine_ticks() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let numbers: Vec<f64> =
        text.lines().next()?.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    // user, nice, system, then idle and waiting for the disk, then interrupts and what the host took.
    let busy = [0, 1, 2, 5, 6, 7];
    Some(busy.iter().filter_map(|at| numbers.get(*at)).sum())
}

/// The load of the machine over the last minute.
pub(super) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// The space that a folder takes up, each file once however many names it has. KB.
pub(super) fn disk_kb(folder: &Path) -> f64 {
    let mut seen = BTreeSet::new();
    let mut blocks = 0;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            // A file may go while the folder is read.
            let Ok(metadata) = std::fs::symlink_metadata(entry.path()) else {
                continue;
            };
            if metadata.is_dir() {
                open.push(entry.path());
            }
            if seen.insert((metadata.dev(), metadata.ino())) {
                blocks += metadata.blocks();
            }
        }
    }
    kilobytes(blocks)
}

#[expect(clippy::cast_precision_loss, reason = "a size in KB for a table")]
fn kilobytes(blocks: u64) -> f64 {
    (blocks * BLOCK) as f64 / 1024.0
}

/// Looks at a peer while `work` runs.
pub(super) fn during<T>(units: Units, subject: &Subject, work: impl FnOnce() -> T) -> (T, Watched) {
    let load = load();
    let disk = || subject.data.as_deref().map_or(0.0, disk_kb);
    let disk_before = disk();
    let before = used(units, subject);
    let began = Instant::now();
    let (end, ended) = mpsc::sync_channel::<()>(1);
    let watched = subject.clone();
    let watcher = std::thread::spawn(move || peak(units, &watched, &ended));
    let done = work();
    drop(end);
    let wall_s = began.elapsed().as_secs_f64();
    let after = used(units, subject);
    let peak = watcher.join().unwrap_or(0.0);
    let [cpu_s, client_cpu_s, machine] = [
        after.server - before.server,
        after.client - before.client,
        after.machine - before.machine,
    ];
    let watched = Watched {
        wall_s,
        cpu_s,
        client_cpu_s,
        other_cpu_s: (machine - cpu_s - client_cpu_s).max(0.0),
        rss_peak_mb: peak.max(after.rss_mb),
        disk_kb: disk() - disk_before,
        load,
    };
    (done, watched)
}

/// The most memory that was seen until the other end of the channel is gone.
fn peak(units: Units, subject: &Subject, ended: &mpsc::Receiver<()>) -> f64 {
    let mut peak = 0.0_f64;
    while ended.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
        peak = peak.max(used(units, subject).rss_mb);
    }
    peak
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Subject, Units, descendants, disk_kb, during, parse_stat};
    use crate::run;

    #[test]
    fn a_line_of_proc_is_read_whatever_the_program_is_called() {
        let fields =
            "S 7 1 1 0 -1 4194560 9 9 9 9 120 30 40 10 20 0 3 0 5 1000 256 18446744073709551615";
        let process = parse_stat(&format!("42 (a) (b c) {fields}")).unwrap();
        assert_eq!((process.pid, process.parent), (42, 7));
        assert_eq!((process.own, process.children, process.pages), (150.0, 50.0, 256.0));
        assert!(parse_stat("42 (cut off").is_none());
    }

    #[test]
    fn work_in_the_server_is_not_other_work() {
        let units = Units::of_this_machine().unwrap();
        let own = std::process::id();
        let subject = Subject { program: own, roots: vec![own], ..Subject::default() };
        let used = |subject| super::used(units, subject).server;
        let before = used(&subject);
        let ((), watched) = during(units, &subject, || {
            while used(&subject) < before + 0.1 {
                std::hint::black_box(());
            }
        });
        assert!(watched.cpu_s >= 0.09 && watched.client_cpu_s < 0.01, "{watched:?}");
        assert!(watched.rss_peak_mb > 1.0, "{watched:?}");
        assert!(descendants(&[own], "NOTHING=here").contains(&own));
    }

    #[test]
    fn what_was_left_by_its_parent_is_found_by_its_mark() {
        let mark = format!("COMPARE_TEST={}", std::process::id());
        let mut shell = Command::new("sh");
        shell.args(["-c", "setsid sleep 1000 > /dev/null 2>&1 & echo $!"]);
        let printed = run::text(shell.env("COMPARE_TEST", std::process::id().to_string()));
        let sleeper: u32 = printed.unwrap().trim().parse().unwrap();
        let found = descendants(&[], &mark);
        Command::new("kill").arg(sleeper.to_string()).status().unwrap();
        assert!(found.contains(&sleeper), "{sleeper}: {found:?}");
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_file_with_two_names_counts_once() {
        let folder = std::env::temp_dir().join(format!("compare-disk-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("below")).unwrap();
        std::fs::write(folder.join("one"), vec![1; 100_000]).unwrap();
        let once = disk_kb(&folder);
        std::fs::hard_link(folder.join("one"), folder.join("below").join("two")).unwrap();
        assert!(once >= 97.0, "{once}");
        assert!((disk_kb(&folder) - once).abs() < 1.0);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
