//! The keeper: starts processes without Python, and everything that they started is gone when
//! their end is told, also when those who see to it are killed.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cov_core::frames::{Exit, Launch};
use cov_exec::keeper::{Keeper, Process};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::{PATIENCE, keeper_program};

const GRACE: Duration = Duration::from_millis(50);

/// A shell that started, in sessions of their own, what ignores every request to end.
const STUBBORN: &str = "trap '' TERM; for n in 1 2 3; do setsid sh -c 'trap \"\" TERM; \
     (trap \"\" TERM; sleep 3600) & sleep 3600' & done; wait";

struct Bench {
    folder: TempDir,
    keeper: Keeper,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Bench {
    fn new(cgroups: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (program, run_dir) = (Some(keeper_program()), folder.path());
        let keeper = Keeper::new(program, run_dir, cgroups, stopping.clone(), tasks.clone());
        Self { folder, keeper, stopping, tasks }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn streams(&self) -> [OwnedFd; 3] {
        let file = |name| File::create(self.path(name)).unwrap().into();
        [File::open("/dev/null").unwrap().into(), file("out"), file("err")]
    }

    async fn start(&self, launch: Launch) -> Process {
        self.keeper.start(launch, self.streams()).await.unwrap()
    }

    async fn shell(&self, script: &str) -> Process {
        self.start(shell(script)).await
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Waits until a process has printed something.
    async fn printed(&self) {
        let begin = Instant::now();
        while self.read("out").is_empty() {
            assert!(begin.elapsed() < PATIENCE, "nothing was printed");
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the family of [`STUBBORN`] is there.
    async fn grown(&self) {
        let begin = Instant::now();
        while marked(&self.path("")) < 10 {
            assert!(begin.elapsed() < PATIENCE, "it does not grow");
            tokio::task::yield_now().await;
        }
    }

    async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.unwrap();
    }
}

fn shell(script: &str) -> Launch {
    Launch {
        program: b"sh".to_vec(),
        arguments: vec![b"-c".to_vec(), script.into()],
        ..Launch::default()
    }
}

async fn ended(process: &mut Process) -> Option<Exit> {
    tokio::time::timeout(PATIENCE, process.ended()).await.unwrap()
}

/// Processes in whose environment this text stands.
fn marked(mark: &Path) -> usize {
    let mark = mark.as_os_str().as_bytes();
    let holds = |folder: &Path| {
        let environment = std::fs::read(folder.join("environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|window| window == mark)
    };
    let folders = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    folders.filter(|folder| holds(folder)).count()
}

fn marking(bench: &Bench, script: &str) -> Launch {
    let variables = vec![(b"MARK".to_vec(), bench.path("").as_os_str().as_bytes().to_vec())];
    Launch { variables, ..shell(script) }
}

#[tokio::test]
async fn a_process_has_its_streams_environment_folder_and_exit_code() {
    let bench = Bench::new(true);
    let folder = bench.path("").canonicalize().unwrap();
    let mut launch = shell("echo $GREETING from $PWD; echo oops >&2; exit 7");
    launch.variables = vec![(b"GREETING".to_vec(), b"hello".to_vec())];
    launch.folder = Some(folder.as_os_str().as_bytes().to_vec());
    let mut process = bench.start(launch).await;
    assert_eq!(ended(&mut process).await, Some(Exit::Code(7)));
    assert_eq!(bench.read("out"), format!("hello from {}\n", folder.display()));
    assert_eq!(bench.read("err"), "oops\n");
    bench.stop().await;
}

#[tokio::test]
async fn a_process_leads_a_group_and_has_usual_signals() {
    let bench = Bench::new(true);
    let script =
        "ps -o pgid= -p $$; sed -n 's/^Sig[IB][gl][nk]://p' /proc/self/status; kill -TERM $$";
    let mut process = bench.shell(script).await;
    assert_eq!(ended(&mut process).await, Some(Exit::Signal(15)));
    let said = bench.read("out");
    let mut words = said.split_whitespace();
    assert_eq!(words.next(), Some(&*process.pid().to_string()));
    // Blocked and ignored signals. Those above 31 are for programs to agree on.
    let masks: Vec<u64> = words.map(|word| u64::from_str_radix(word, 16).unwrap()).collect();
    assert!(masks.len() == 2 && masks.iter().all(|mask| mask & 0x7fff_ffff == 0), "{said}");
    bench.stop().await;
}

#[tokio::test]
async fn what_is_no_program_says_so_and_exits_like_under_a_shell() {
    let bench = Bench::new(true);
    let launch = Launch { program: b"no-such-program".to_vec(), ..Launch::default() };
    let mut process = bench.start(launch).await;
    assert_eq!(ended(&mut process).await, Some(Exit::Code(127)));
    assert!(bench.read("err").starts_with("no-such-program cannot be started: "));
    let launch = Launch { program: b"/etc/passwd".to_vec(), ..Launch::default() };
    let mut process = bench.start(launch).await;
    assert_eq!(ended(&mut process).await, Some(Exit::Code(126)));
    let launch = Launch { folder: Some(b"/no/such/folder".to_vec()), ..shell("true") };
    let refused = bench.keeper.start(launch, bench.streams()).await.unwrap_err();
    assert!(refused.to_string().contains("No such file"), "{refused}");
    bench.stop().await;
}

#[tokio::test]
async fn a_limit_of_memory_binds() {
    let bench = Bench::new(true);
    let launch = Launch { memory_bytes_max: Some(64 << 20), ..shell("ulimit -v") };
    assert_eq!(ended(&mut bench.start(launch).await).await, Some(Exit::Code(0)));
    assert_eq!(bench.read("out"), "65536\n");
    bench.stop().await;
}

async fn what_is_killed_is_gone_with_all_that_it_started(cgroups: bool) {
    let bench = Bench::new(cgroups);
    let mut process = bench.start(marking(&bench, STUBBORN)).await;
    bench.grown().await;
    process.kill(GRACE).await;
    assert_eq!(ended(&mut process).await, Some(Exit::Signal(9)));
    assert_eq!(marked(&bench.path("")), 0);
    bench.stop().await;
}

#[tokio::test]
async fn what_is_killed_is_gone_with_all_that_it_started_with_cgroups() {
    what_is_killed_is_gone_with_all_that_it_started(true).await;
}

#[tokio::test]
async fn what_is_killed_is_gone_with_all_that_it_started_without_cgroups() {
    what_is_killed_is_gone_with_all_that_it_started(false).await;
}

#[tokio::test]
async fn what_ends_by_itself_leaves_nothing() {
    let bench = Bench::new(false);
    let script = "setsid sh -c 'trap \"\" TERM; sleep 3600' & setsid sleep 3600 & exit 3";
    let mut process = bench.start(marking(&bench, script)).await;
    assert_eq!(ended(&mut process).await, Some(Exit::Code(3)));
    assert_eq!(marked(&bench.path("")), 0);
    bench.stop().await;
}

#[tokio::test]
async fn a_process_that_obeys_has_its_time() {
    let bench = Bench::new(true);
    let mut process =
        bench.shell("trap 'echo bye; exit 5' TERM; echo on; while :; do sleep 0.01; done").await;
    bench.printed().await;
    process.kill(PATIENCE).await;
    assert_eq!(ended(&mut process).await, Some(Exit::Code(5)));
    assert_eq!(bench.read("out"), "on\nbye\n");
    bench.stop().await;
}

#[tokio::test]
async fn the_end_of_the_executor_is_the_end_of_everything() {
    let bench = Bench::new(false);
    let mut process = bench.start(marking(&bench, STUBBORN)).await;
    bench.grown().await;
    bench.stop().await;
    assert_eq!(ended(&mut process).await, None);
    assert_eq!(marked(&bench.path("")), 0);
}

/// Parents of a process: the starter, then the guard.
fn parent(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    line.trim().parse().unwrap()
}

fn sigkill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn when_the_starter_is_killed_everything_is_gone_before_it_is_told() {
    let bench = Bench::new(false);
    let mut process = bench.start(marking(&bench, STUBBORN)).await;
    bench.grown().await;
    sigkill(parent(process.pid()));
    assert_eq!(ended(&mut process).await, None);
    assert_eq!(marked(&bench.path("")), 0);
    // The next process has a keeper of its own.
    let mut process = bench.shell("exit 4").await;
    assert_eq!(ended(&mut process).await, Some(Exit::Code(4)));
    bench.stop().await;
}

#[tokio::test]
async fn when_the_guard_is_killed_the_processes_die() {
    let bench = Bench::new(false);
    let mut process = bench.start(marking(&bench, "echo on; while :; do :; done")).await;
    bench.printed().await;
    sigkill(parent(parent(process.pid())));
    assert_eq!(ended(&mut process).await, None);
    let begin = Instant::now();
    while marked(&bench.path("")) > 0 {
        assert!(begin.elapsed() < PATIENCE, "something is left");
    }
    bench.stop().await;
}

#[tokio::test]
async fn many_processes_at_once_are_told_apart() {
    let bench = Bench::new(true);
    let mut started = Vec::new();
    for code in 0..40u32 {
        started.push((code, bench.shell(&format!("exit {code}")).await));
    }
    for (code, mut process) in started {
        assert_eq!(ended(&mut process).await, Some(Exit::Code(code)));
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_a_keeper_is_told_what_it_lacks() {
    let folder = TempDir::new().unwrap();
    let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
    // The harness of these tests.
    let keeper = Keeper::new(None, folder.path(), true, stopping, tasks);
    let null = || File::open("/dev/null").unwrap().into();
    let refused = keeper.start(shell("true"), [null(), null(), null()]).await.unwrap_err();
    assert!(refused.to_string().contains("`cov_server::init()` must be the first"), "{refused}");
}
