//! What every executor promises, whatever runs its tasks. Each function takes an executor that
//! runs Python tasks and has at least two slots.

use cov_core::error::Fault;
use cov_core::ids::NodeId;
use cov_exec::{Error, Event, Executor, Outcome, Report};
use tokio::sync::mpsc;

use crate::support::*;

type Reports = mpsc::Receiver<Report>;

/// One test per promise, for one way to make an executor.
macro_rules! conformance {
    ($($promise:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let mut bench = Bench::new(2);
            super::$promise(&bench.executor, &mut bench.reports, bench.folder.path()).await;
            bench.executor.stop().await;
        }
    )*};
}

mod local {
    use cov_exec::Executor as _;

    use crate::support::Bench;

    conformance! {
        a_task_begins_and_completes,
        arguments_arrive_by_place_and_by_keyword,
        what_a_task_raises_is_its_own_fault,
        what_a_task_prints_is_kept_apart_by_stream,
        output_can_be_read_while_the_task_runs,
        slots_run_at_the_same_time,
        a_killed_task_is_reported_when_it_is_gone,
        a_waiting_task_can_be_killed,
        unknown_attempts_are_nobodys,
        a_runner_that_dies_takes_its_own_task_only,
        a_stopped_executor_takes_nothing_and_says_nothing,
    }
}

async fn run(executor: &impl Executor, reports: &mut Reports, source: &str) -> cov_exec::Ending {
    let task = task(source);
    let attempt = task.attempt;
    executor.submit(task).await.unwrap();
    end_of(reports, attempt).await
}

async fn a_task_begins_and_completes(
    executor: &impl Executor,
    reports: &mut Reports,
    _: &std::path::Path,
) {
    let ending = run(executor, reports, "result = 6 * 7").await;
    assert!(bytes(&ending.stdout).is_empty() && bytes(&ending.stderr).is_empty());
    let object = completed(ending);
    assert_eq!(object.object_string, "42");
    assert_eq!(object.header.attrs.name, "");
    assert!(!object.header.py_version.is_empty());
}

async fn arguments_arrive_by_place_and_by_keyword(
    executor: &impl Executor,
    reports: &mut Reports,
    _: &std::path::Path,
) {
    let mut task = call("builtins dict", &[]);
    let word =
        |name: &str, node, text: &str| (name.to_owned(), NodeId(node), archive(pickled_text(text)));
    task.kwargs = vec![word("one", 3, "1"), word("two", 4, "2")];
    let attempt = task.attempt;
    executor.submit(task).await.unwrap();
    let object = completed(end_of(reports, attempt).await);
    assert_eq!(object.object_string, "{'one': '1', 'two': '2'}");

    let task = call("os.path join", &["a", "b", "c"]);
    let attempt = task.attempt;
    executor.submit(task).await.unwrap();
    assert_eq!(completed(end_of(reports, attempt).await).object_string, "a/b/c");
}

async fn what_a_task_raises_is_its_own_fault(
    executor: &impl Executor,
    reports: &mut Reports,
    _: &std::path::Path,
) {
    for (source, said) in [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt('stop')", "KeyboardInterrupt: stop"),
        ("import threading; result = threading.Lock()", "pickle"),
    ] {
        let ending = run(executor, reports, source).await;
        let (fault, message) = failed(&ending);
        assert_eq!(fault, Fault::Task, "{source}");
        assert!(message.contains(said), "{source}: {message}");
        assert!(message.starts_with("Traceback (most recent call last):\n"), "{message}");
        assert_eq!(text(&ending.stderr), format!("{message}\n"), "{source}");
    }
    assert_eq!(completed(run(executor, reports, "result = 1").await).object_string, "1");
}

async fn what_a_task_prints_is_kept_apart_by_stream(
    executor: &impl Executor,
    reports: &mut Reports,
    _: &std::path::Path,
) {
    let source = "import sys, os\nprint('to out')\nprint('to err', file=sys.stderr)\n\
                  os.system('echo child; echo failing child >&2')\nprint('no newline', end='')";
    for _ in 0..2 {
        let ending = run(executor, reports, source).await;
        assert_eq!(text(&ending.stdout), "to out\nchild\nno newline");
        assert_eq!(text(&ending.stderr), "to err\nfailing child\n");
    }
    let silent = run(executor, reports, "").await;
    assert!(bytes(&silent.stdout).is_empty() && bytes(&silent.stderr).is_empty());
}

async fn output_can_be_read_while_the_task_runs(
    executor: &impl Executor,
    reports: &mut Reports,
    folder: &std::path::Path,
) {
    let line = Line::new(folder);
    let task =
        task(&format!("{}print('so far')\ntell('printed')\nwait()\nprint('end')", line.prelude()));
    let attempt = task.attempt;
    executor.submit(task).await.unwrap();
    let mut talk = line.answer().await;
    talk.hear().await;
    let (out, err) = executor.live_output(attempt).await.unwrap();
    assert_eq!((&out[..], &err[..]), (&b"so far\n"[..], &b""[..]));
    talk.let_on().await;
    assert_eq!(text(&end_of(reports, attempt).await.stdout), "so far\nend\n");
    assert!(executor.live_output(attempt).await.is_none());
}

async fn slots_run_at_the_same_time(
    executor: &impl Executor,
    reports: &mut Reports,
    folder: &std::path::Path,
) {
    assert!(executor.slots() >= 2);
    let line = Line::new(folder);
    let source = format!("{}wait()", line.prelude());
    executor.submit(task(&source)).await.unwrap();
    executor.submit(task(&source)).await.unwrap();
    let (mut first, mut second) = (line.answer().await, line.answer().await);
    first.let_on().await;
    second.let_on().await;
    let mut ended = 0;
    while ended < 2 {
        if let Event::Ended(ending) = next(reports).await.event {
            completed(ending);
            ended += 1;
        }
    }
}

async fn a_killed_task_is_reported_when_it_is_gone(
    executor: &impl Executor,
    reports: &mut Reports,
    folder: &std::path::Path,
) {
    let line = Line::new(folder);
    let source = format!("{}print('before')\ntell('running')\nwait()", line.prelude());
    let task = task(&source);
    let attempt = task.attempt;
    executor.submit(task).await.unwrap();
    let mut talk = line.answer().await;
    talk.hear().await;
    executor.kill(attempt).await;
    executor.kill(attempt).await;
    let ending = end_of(reports, attempt).await;
    assert!(matches!(ending.outcome, Outcome::Killed), "{:?}", ending.outcome);
    assert_eq!(text(&ending.stdout), "before\n");
    talk.gone().await;
    assert_eq!(completed(run(executor, reports, "result = 1").await).object_string, "1");
}

async fn a_waiting_task_can_be_killed(
    executor: &impl Executor,
    reports: &mut Reports,
    folder: &std::path::Path,
) {
    let line = Line::new(folder);
    let mut talks = Vec::new();
    for _ in 0..executor.slots() {
        executor.submit(task(&format!("{}wait()", line.prelude()))).await.unwrap();
        talks.push(line.answer().await);
        assert!(matches!(next(reports).await.event, Event::Begun));
    }
    let waiting = task("result = 1");
    let attempt = waiting.attempt;
    executor.submit(waiting).await.unwrap();
    executor.kill(attempt).await;
    let report = next(reports).await;
    assert_eq!(report.attempt, attempt);
    let Event::Ended(ending) = report.event else { panic!("{:?}", report.event) };
    assert!(matches!(ending.outcome, Outcome::Killed));
    for mut talk in talks {
        talk.let_on().await;
        let Event::Ended(ending) = next(reports).await.event else { panic!("no end") };
        completed(ending);
    }
}

async fn unknown_attempts_are_nobodys(
    executor: &impl Executor,
    reports: &mut Reports,
    _: &std::path::Path,
) {
    let unknown = task("").attempt;
    executor.kill(unknown).await;
    assert!(executor.live_output(unknown).await.is_none());
    assert_eq!(completed(run(executor, reports, "result = 1").await).object_string, "1");
}

async fn a_runner_that_dies_takes_its_own_task_only(
    executor: &impl Executor,
    reports: &mut Reports,
    folder: &std::path::Path,
) {
    let line = Line::new(folder);
    let neighbour = task(&format!("{}wait()\nresult = 'well'", line.prelude()));
    let neighbour_attempt = neighbour.attempt;
    executor.submit(neighbour).await.unwrap();
    let mut talk = line.answer().await;
    begin_of(reports, neighbour_attempt).await;
    for (source, said) in [
        ("import os; print('last words'); os._exit(3)", "code 3"),
        (
            "import os, signal; print('last words'); os.kill(os.getpid(), signal.SIGKILL)",
            "out-of-memory killer",
        ),
        ("import ctypes; print('last words'); ctypes.string_at(0)", "SIGSEGV"),
    ] {
        let ending = run(executor, reports, source).await;
        let (fault, message) = failed(&ending);
        assert_eq!(fault, Fault::Runner);
        assert!(message.contains(said), "{message}");
        assert_eq!(text(&ending.stdout), "last words\n");
    }
    assert_eq!(completed(run(executor, reports, "result = 1").await).object_string, "1");
    talk.let_on().await;
    let report = next(reports).await;
    assert_eq!(report.attempt, neighbour_attempt);
    let Event::Ended(ending) = report.event else { panic!("{:?}", report.event) };
    assert_eq!(completed(ending).object_string, "well");
}

async fn a_stopped_executor_takes_nothing_and_says_nothing(
    executor: &impl Executor,
    reports: &mut Reports,
    folder: &std::path::Path,
) {
    let line = Line::new(folder);
    let running = task(&format!("{}wait()", line.prelude()));
    let attempt = running.attempt;
    executor.submit(running).await.unwrap();
    begin_of(reports, attempt).await;
    let talk = line.answer().await;
    executor.stop().await;
    talk.gone().await;
    assert!(matches!(executor.submit(task("")).await, Err(Error::Stopping)));
    assert!(reports.try_recv().is_err());
}
