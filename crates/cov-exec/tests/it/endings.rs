//! What a task started is gone when its end is reported: at that moment, not soon after; with
//! cgroups and without, also when those who see to it are killed.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cov_core::error::Fault;
use cov_exec::{Event, Executor as _, Outcome, Task};

use crate::support::*;

/// A file that the processes of a task keep locked for as long as one of them lives.
struct Hold {
    path: PathBuf,
}

impl Hold {
    fn new(folder: &Path, name: &str) -> Self {
        Self { path: folder.join(name) }
    }

    /// Python source: whatever is forked after it holds the lock.
    fn prelude(&self) -> String {
        let path = &self.path;
        format!(
            "import fcntl, os, signal, time\nheld = open({path:?}, 'w')\nfcntl.flock(held, fcntl.LOCK_EX)\n"
        )
    }

    fn held(&self) -> bool {
        match File::open(&self.path).unwrap().try_lock() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => panic!("{error}"),
        }
    }
}

/// Python source: a process that starts the next, in a session of its own, and ends; without end.
const RELAY: &str = "if os.fork() == 0:\n    while True:\n        if os.fork():\n            os._exit(0)\n        os.setsid()\n";

/// Python source: a process that left its group and session, and ignores what can be ignored.
const STUBBORN: &str = "if os.fork() == 0:\n    os.setsid()\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    os.fork() and os._exit(0)\n    tell('daemon')\n    time.sleep(3600)\n";

async fn begun(bench: &mut Bench, task: Task) -> cov_core::ids::AttemptId {
    let attempt = task.attempt;
    bench.executor.submit(task).await.unwrap();
    begin_of(&mut bench.reports, attempt).await;
    attempt
}

async fn killed(bench: &mut Bench) {
    let report = bench.next().await;
    let Event::Ended(ending) = report.event else { panic!("{:?}", report.event) };
    assert!(matches!(ending.outcome, Outcome::Killed), "{:?}", ending.outcome);
}

fn sigkill(pid: &str) {
    let sent = Command::new("kill").args(["-9", pid]).status().unwrap();
    assert!(sent.success(), "no process {pid}");
}

async fn a_relay_is_dead_when_it_is_reported(cgroups: bool) {
    let mut bench = Bench::with(|options| {
        options.kill_grace = Duration::from_millis(20);
        options.cgroups = cgroups;
    });
    for round in 0..25 {
        let line = Line::new(bench.folder.path());
        let hold = Hold::new(bench.folder.path(), "relay");
        let source = format!("{}{}{RELAY}tell('on')\nwait()", hold.prelude(), line.prelude());
        let attempt = begun(&mut bench, task(&source)).await;
        assert_eq!(line.answer().await.hear().await, "on");
        assert!(hold.held());
        bench.executor.kill(attempt).await;
        killed(&mut bench).await;
        assert!(!hold.held(), "a link lives, round {round}");
    }
}

#[tokio::test]
async fn a_relay_is_dead_when_it_is_reported_with_cgroups() {
    a_relay_is_dead_when_it_is_reported(true).await;
}

#[tokio::test]
async fn a_relay_is_dead_when_it_is_reported_without_cgroups() {
    a_relay_is_dead_when_it_is_reported(false).await;
}

/// The runner ends at once; what it leaves ends when its time is over, not when it wants.
#[tokio::test]
async fn what_an_obedient_runner_leaves_is_killed_in_time() {
    for cgroups in [true, false] {
        let mut bench = Bench::with(|options| {
            options.kill_grace = Duration::from_millis(200);
            options.cgroups = cgroups;
        });
        let line = Line::new(bench.folder.path());
        let hold = Hold::new(bench.folder.path(), "daemon");
        let source = format!("{}{}{STUBBORN}wait()", hold.prelude(), line.prelude());
        let attempt = begun(&mut bench, task(&source)).await;
        let mut talk = line.answer().await;
        assert_eq!(talk.hear().await, "daemon");
        bench.executor.kill(attempt).await;
        killed(&mut bench).await;
        assert!(!hold.held());
    }
}

/// The grace belongs to all processes of a task, not to its runner alone.
#[tokio::test]
async fn what_an_obedient_runner_leaves_may_clean_up() {
    let mut bench = Bench::with(|options| options.kill_grace = Duration::from_secs(600));
    let line = Line::new(bench.folder.path());
    let cleaned = bench.path("cleaned");
    let source = format!(
        "{}import os, signal\ndef clean(*_):\n    tell('asked')\n    wait()\n    open({cleaned:?}, 'w').close()\n    os._exit(0)\n\
         if os.fork() == 0:\n    signal.signal(signal.SIGTERM, clean)\n    tell('ready')\n    while True: signal.pause()\n\
         signal.pause()",
        line.prelude()
    );
    let attempt = begun(&mut bench, task(&source)).await;
    let mut talk = line.answer().await;
    assert_eq!(talk.hear().await, "ready");
    bench.executor.kill(attempt).await;
    assert_eq!(talk.hear().await, "asked");
    talk.let_on().await;
    killed(&mut bench).await;
    assert!(cleaned.exists());
}

#[tokio::test]
async fn what_a_killed_zygote_leaves_is_dead_when_its_tasks_are_reported() {
    for cgroups in [true, false] {
        let mut bench = Bench::with(|options| options.cgroups = cgroups);
        let line = Line::new(bench.folder.path());
        let hold = Hold::new(bench.folder.path(), "left");
        let source = format!(
            "{}{}{STUBBORN}{RELAY}tell(os.getppid())\nwait()",
            hold.prelude(),
            line.prelude()
        );
        begun(&mut bench, task(&source)).await;
        let mut talk = line.answer().await;
        let (first, second) = (talk.hear().await, talk.hear().await);
        sigkill(if first == "daemon" { &second } else { &first });
        let Event::Ended(ending) = bench.next().await.event else { panic!("no end") };
        assert_eq!(failed(&ending).0, Fault::Runner);
        assert!(!hold.held());
        assert_eq!(bench.eval("result = 1").await, "1");
    }
}

/// The zygote dies in the midst of a kill: the task is killed when nothing of it is left.
#[tokio::test]
async fn a_kill_that_the_zygote_does_not_live_to_finish() {
    for cgroups in [true, false] {
        let mut bench = Bench::with(|options| {
            options.cgroups = cgroups;
            options.kill_grace = Duration::from_secs(600);
        });
        let line = Line::new(bench.folder.path());
        let hold = Hold::new(bench.folder.path(), "left");
        let source = format!(
            "{}{}asked = os.getppid()\nsignal.signal(signal.SIGTERM, lambda *_: tell(asked))\n{STUBBORN}{RELAY}while True: signal.pause()",
            hold.prelude(),
            line.prelude()
        );
        let attempt = begun(&mut bench, task(&source)).await;
        let mut talk = line.answer().await;
        assert_eq!(talk.hear().await, "daemon");
        bench.executor.kill(attempt).await;
        sigkill(&talk.hear().await);
        killed(&mut bench).await;
        assert!(!hold.held());
    }
}

/// Without cgroups, what left its group outlives a keeper that was killed; nothing else does.
#[tokio::test]
async fn when_the_keeper_is_killed_another_takes_over() {
    for cgroups in [true, false] {
        let mut bench = Bench::with(|options| options.cgroups = cgroups);
        let own = bench.eval("result = open('/proc/self/cgroup').read()").await;
        let line = Line::new(bench.folder.path());
        let hold = Hold::new(bench.folder.path(), "left");
        let daemon = if own.contains("/cov-") { STUBBORN } else { "tell('none')\n" };
        let source = format!(
            "{}{}{daemon}keeper = open(f'/proc/{{os.getppid()}}/stat').read().rpartition(')')[2].split()[1]\n\
             tell('keeper ' + keeper)\nwait()",
            hold.prelude(),
            line.prelude()
        );
        begun(&mut bench, task(&source)).await;
        let mut talk = line.answer().await;
        let said = [talk.hear().await, talk.hear().await];
        let keeper = said.iter().find_map(|said| said.strip_prefix("keeper ")).unwrap();
        sigkill(keeper);
        let Event::Ended(ending) = bench.next().await.event else { panic!("no end") };
        assert_eq!(failed(&ending).0, Fault::Runner);
        // The next keeper has ended what the killed one could not.
        assert_eq!(bench.eval("result = 1").await, "1");
        assert!(!hold.held());
    }
}
