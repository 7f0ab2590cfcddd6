//! Processes: nothing outlives what it belongs to, and what dies is replaced.

use std::io::{BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cov_core::error::Fault;
use cov_exec::{Event, Executor as _, Outcome};

use crate::support::*;

/// Python source that starts processes which leave group and session, and hold a line: one a
/// child of the runner, one an orphan.
fn scatter(line: &Line) -> String {
    let hold = format!("{}tell(__import__('os').getpid())\nwait()", line.prelude());
    format!(
        "import os, subprocess, sys\nhold = {hold:?}\n\
         subprocess.Popen([sys.executable, '-c', hold], start_new_session=True)\n\
         if os.fork() == 0:\n    subprocess.Popen([sys.executable, '-c', hold], start_new_session=True)\n    os._exit(0)\n"
    )
}

fn exists(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

fn kill(pid: &str) {
    let sent = Command::new("kill").args(["-9", pid]).status().unwrap();
    assert!(sent.success(), "no process {pid}");
}

#[tokio::test]
async fn a_kill_reaches_what_left_the_group_and_is_reported_after_its_end() {
    let mut bench = Bench::with(|options| options.kill_grace = Duration::from_millis(200));
    let line = Line::new(bench.folder.path());
    let own = Line::new(bench.folder.path());
    let source = format!(
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{}{}tell('ready')\nwait()",
        scatter(&line),
        own.prelude()
    );
    let task = task(&source);
    let attempt = task.attempt;
    bench.executor.submit(task).await.unwrap();
    begin_of(&mut bench.reports, attempt).await;
    let mut pids = Vec::new();
    let mut talks = vec![line.answer().await, line.answer().await];
    for talk in &mut talks {
        pids.push(talk.hear().await);
    }
    let mut talk = own.answer().await;
    assert_eq!(talk.hear().await, "ready");
    bench.executor.kill(attempt).await;
    let report = bench.next().await;
    let Event::Ended(ending) = report.event else { panic!("{:?}", report.event) };
    assert!(matches!(ending.outcome, Outcome::Killed));
    for pid in pids {
        assert!(!exists(&pid), "{pid} outlived its task");
    }
    talk.gone().await;
}

#[tokio::test]
async fn a_killed_task_may_clean_up() {
    let mut bench = Bench::new(1);
    let line = Line::new(bench.folder.path());
    let clean = "import signal, sys\ndef clean(*_):\n    print('cleaned')\n    sys.exit(1)\n\
                 signal.signal(signal.SIGTERM, clean)\n";
    let task = task(&format!("{clean}{}tell('ready')\nwait()", line.prelude()));
    let attempt = task.attempt;
    bench.executor.submit(task).await.unwrap();
    let mut talk = line.answer().await;
    talk.hear().await;
    bench.executor.kill(attempt).await;
    let ending = end_of(&mut bench.reports, attempt).await;
    assert!(matches!(ending.outcome, Outcome::Killed), "{:?}", ending.outcome);
    drop(talk);
}

#[tokio::test]
async fn what_a_dying_runner_leaves_dies_with_it() {
    let mut bench = Bench::new(1);
    let line = Line::new(bench.folder.path());
    let own = Line::new(bench.folder.path());
    let source = format!("{}{}wait()\nos._exit(1)", scatter(&line), own.prelude());
    let task = task(&source);
    let attempt = task.attempt;
    bench.executor.submit(task).await.unwrap();
    let talks = [line.answer().await, line.answer().await];
    own.answer().await.let_on().await;
    let ending = end_of(&mut bench.reports, attempt).await;
    assert_eq!(failed(&ending).0, Fault::Runner);
    for talk in talks {
        talk.gone().await;
    }
}

#[tokio::test]
async fn an_idle_runner_that_is_killed_is_replaced() {
    let mut bench = Bench::new(1);
    for _ in 0..3 {
        let pid = bench.eval("import os\nresult = os.getpid()").await;
        kill(&pid);
        loop {
            let again = task("result = 1");
            let attempt = again.attempt;
            bench.executor.submit(again).await.unwrap();
            let first = bench.next().await;
            assert_eq!(first.attempt, attempt);
            match first.event {
                // It was handed over before the death was known: it did not run, and may again.
                Event::NotBegun => {}
                Event::Begun => break,
                other => panic!("{other:?}"),
            }
        }
        let Event::Ended(ending) = bench.next().await.event else { panic!("no end") };
        completed(ending);
    }
}

#[tokio::test]
async fn when_the_zygote_dies_its_runners_die_and_another_takes_over() {
    let mut bench = Bench::new(2);
    let line = Line::new(bench.folder.path());
    let task = task(&format!(
        "{}print('so far')\ntell(__import__('os').getppid())\nwait()",
        line.prelude()
    ));
    let attempt = task.attempt;
    bench.executor.submit(task).await.unwrap();
    let mut talk = line.answer().await;
    let zygote = talk.hear().await;
    kill(&zygote);
    let ending = end_of(&mut bench.reports, attempt).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Runner, "{message}");
    assert_eq!(text(&ending.stdout), "so far\n");
    talk.gone().await;
    assert_eq!(bench.eval("result = 1").await, "1");
}

#[tokio::test]
async fn stopping_ends_every_process() {
    let mut bench = Bench::new(2);
    let line = Line::new(bench.folder.path());
    let source = format!("{}{}wait()", scatter(&line), line.prelude());
    let zygote = bench.eval("import os\nresult = os.getppid()").await;
    bench.executor.submit(task(&source)).await.unwrap();
    let talks = [line.answer().await, line.answer().await, line.answer().await];
    bench.executor.stop().await;
    assert!(!exists(&zygote));
    for talk in talks {
        talk.gone().await;
    }
}

#[tokio::test]
async fn dropping_the_executor_ends_every_process() {
    let bench = Bench::new(1);
    let line = Line::new(bench.folder.path());
    bench.executor.submit(task(&format!("{}wait()", line.prelude()))).await.unwrap();
    let talk = line.answer().await;
    drop(bench);
    talk.gone().await;
}

const SERVER_ROLE: &str = "COV_TEST_SERVER_LINE";

/// Starts itself again as a server, and kills that with a task under way.
#[tokio::test]
async fn runners_die_with_the_server() {
    if let Some(folder) = std::env::var_os(SERVER_ROLE) {
        return serve_until_killed(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let line = Line::new(folder.path());
    let source = folder.path().join("source");
    std::fs::write(&source, format!("{}{}wait()", scatter(&line), line.prelude())).unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::runners_die_with_the_server", "--nocapture"])
        .env(SERVER_ROLE, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let talks = [line.answer().await, line.answer().await, line.answer().await];
    server.kill().unwrap();
    server.wait().unwrap();
    for talk in talks {
        talk.gone().await;
    }
    let mut rest = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_to_string(&mut rest).unwrap();
    assert!(rest.lines().any(|line| line.contains("running 1 test")), "{rest}");
}

async fn serve_until_killed(folder: &Path) {
    let source = std::fs::read_to_string(folder.join("source")).unwrap();
    let bench = Bench::new(1);
    bench.executor.submit(task(&source)).await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_each_end_once_and_never_more_run_than_there_are_slots() {
    const TASKS: usize = 300;
    let mut bench = Bench::new(3);
    let (mut submitted, mut not_begun) = (0, 0);
    let mut ended = std::collections::HashSet::new();
    let mut running = 0_usize;
    while ended.len() < TASKS {
        while submitted - not_begun < TASKS && submitted - not_begun < ended.len() + 3 {
            // Every seventh runner dies.
            let source = if submitted % 7 == 3 { "import os\nos._exit(1)" } else { "result = 1" };
            bench.executor.submit(task(source)).await.unwrap();
            submitted += 1;
        }
        let report = bench.next().await;
        match report.event {
            Event::Begun => running += 1,
            Event::Ended(_) => {
                running -= 1;
                assert!(ended.insert(report.attempt), "{} ended twice", report.attempt);
            }
            // It was at hand for a runner that died at another task.
            Event::NotBegun => not_begun += 1,
            other => panic!("{} was not run: {other:?}", report.attempt),
        }
        assert!(running <= 3);
    }
    assert_eq!(running, 0);
}

#[tokio::test]
async fn what_an_earlier_life_left_is_cleared_and_what_reports_name_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (stale, other) = (folder.path().join("attempt-0.output"), folder.path().join("other"));
    std::fs::write(&stale, "x").unwrap();
    std::fs::write(&other, "x").unwrap();
    let mut bench = Bench::with(|options| options.spool_dir = folder.path().to_owned());
    let ending = bench.run(task("result = b'x' * 1_000_000")).await;
    assert!(!stale.exists() && other.exists());
    // Another zygote starts while the report's file has not been fetched yet.
    let line = Line::new(bench.folder.path());
    let next = task(&format!("{}tell(__import__('os').getppid())\nwait()", line.prelude()));
    let attempt = next.attempt;
    bench.executor.submit(next).await.unwrap();
    let mut talk = line.answer().await;
    kill(&talk.hear().await);
    assert_eq!(failed(&end_of(&mut bench.reports, attempt).await).0, Fault::Runner);
    drop(talk);
    assert_eq!(bench.eval("result = 1").await, "1");
    assert!(completed(ending).data.len() > 1_000_000);
}
