//! Programs that bring their own electrons: warm, shared, apart from each other, and no Python.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cov_core::asset::ContentDigest;
use cov_core::error::Fault;
use cov_exec::local::LocalOptions;
use cov_exec::{Ending, Event, Executor as _, Outcome, Payload, Program, Runtime, Task};
use tokio::time::Instant;

use crate::support::*;

fn bench(change: impl FnOnce(&mut LocalOptions)) -> Bench {
    Bench::with(|options| {
        options.python = Some("/no/python/here".into());
        options.keeper = Some(keeper_program());
        options.kill_grace = Duration::from_millis(20);
        change(options);
    })
}

fn program(path: &Path) -> Program {
    let mut digest = ContentDigest::default();
    digest.update(&std::fs::read(path).unwrap());
    let content = Payload::File(path.to_owned());
    Program { digest: digest.finish().id, content, address: None, memory_bytes_max: None }
}

fn own() -> Program {
    program(&example("program"))
}

fn task_of(program: &Program, function: &str) -> Task {
    let function = Payload::Bytes(function.to_owned().into());
    Task { runtime: Runtime::Program(program.clone()), function, ..task("") }
}

fn text(ending: Ending) -> String {
    let Outcome::Completed(Payload::Bytes(bytes)) = ending.outcome else { panic!("{ending:?}") };
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn failed(ending: &Ending) -> (Fault, &str) {
    let Outcome::Failed { fault, message } = &ending.outcome else { panic!("{ending:?}") };
    (*fault, message)
}

/// The end of a task that may not have begun.
async fn refused(bench: &mut Bench, task: Task) -> Ending {
    bench.executor.submit(task).await.unwrap();
    let Event::Ended(ending) = bench.next().await.event else { panic!("it began") };
    ending
}

#[tokio::test]
async fn runners_of_a_program_are_warm_and_shared_among_dispatches() {
    let mut bench = bench(|_| {});
    let program = own();
    let pid = text(bench.run(task_of(&program, "pid")).await);
    let other = "00000000-2c57-4a4b-8f0e-0f4a0f7f2b11";
    let of_another =
        |function| Task { dispatch: other.parse().unwrap(), ..task_of(&program, function) };
    assert_eq!(text(bench.run(of_another("dispatch")).await), other);
    assert_eq!(text(bench.run(of_another("pid")).await), pid);
    let digest = program.digest.to_string();
    assert_eq!(text(bench.run(task_of(&program, "program")).await), digest);
    let ending = bench.run(task_of(&program, "fail")).await;
    assert_eq!(failed(&ending), (Fault::Task, "told to"));
    assert_eq!(text(bench.run(task_of(&program, "pid")).await), pid);
    bench.executor.stop().await;
}

#[tokio::test]
async fn an_abort_fails_its_task_and_the_next_has_a_fresh_process() {
    let mut bench = bench(|options| options.workers = 1);
    let program = own();
    let pid = text(bench.run(task_of(&program, "pid")).await);
    let ending = bench.run(task_of(&program, "abort")).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Runner);
    assert!(message.contains("was ended by SIGABRT (signal 6)"), "{message}");
    assert_eq!(ending.stderr, Payload::Bytes("last words\n".into()));
    assert_ne!(text(bench.run(task_of(&program, "pid")).await), pid);
    bench.executor.stop().await;
}

#[tokio::test]
async fn a_busy_loop_is_dead_with_what_it_started_when_its_end_is_told() {
    let mut bench = bench(|_| {});
    let program = own();
    let pid = text(bench.run(task_of(&program, "pid")).await);
    let spinning = task_of(&program, "spin");
    let attempt = spinning.attempt;
    bench.executor.submit(spinning).await.unwrap();
    begin_of(&mut bench.reports, attempt).await;
    let begin = Instant::now();
    while bench.executor.live_output(attempt).await.unwrap().0.is_empty() {
        assert!(begin.elapsed() < PATIENCE, "nothing was printed");
    }
    bench.executor.kill(attempt).await;
    let Event::Ended(ending) = bench.next().await.event else { panic!() };
    assert!(matches!(ending.outcome, Outcome::Killed), "{ending:?}");
    assert_eq!(ending.stdout, Payload::Bytes("spinning\n".into()));
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    bench.executor.stop().await;
}

#[tokio::test]
async fn a_limit_of_memory_fails_the_task_that_wants_more() {
    let mut bench = bench(|_| {});
    let limited = Program { memory_bytes_max: Some(256 << 20), ..own() };
    let ending = bench.run(task_of(&limited, "allocate")).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Runner);
    assert!(message.contains("limited to 256 MB"), "{message}");
    let Payload::Bytes(said) = ending.stderr else { panic!("it is short") };
    assert!(String::from_utf8_lossy(&said).contains("memory allocation of"), "{said:?}");
    assert_eq!(text(bench.run(task_of(&own(), "allocate")).await), (400 << 20).to_string());
    bench.executor.stop().await;
}

#[tokio::test]
async fn a_damaged_program_is_refused() {
    let mut bench = bench(|_| {});
    let damaged = Program { content: Payload::Bytes("other bytes".into()), ..own() };
    let ending = refused(&mut bench, task_of(&damaged, "pid")).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Executor);
    assert!(message.contains("not the one that the task names"), "{message}");
    bench.executor.stop().await;
}

#[tokio::test]
async fn what_is_no_runner_is_told_how_to_become_one() {
    let mut bench = bench(|_| {});
    let ending = refused(&mut bench, task_of(&program(&which("echo")), "pid")).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Executor);
    assert!(message.contains("exited with code 0 before it could take a task"), "{message}");
    assert!(message.contains("`cov::runner::init()`"), "{message}");
    let script = bench.path("script");
    std::fs::write(&script, "#!/bin/sh\necho told; echo why >&2; exit 3").unwrap();
    let ending = refused(&mut bench, task_of(&program(&script), "pid")).await;
    assert!(failed(&ending).1.ends_with("It printed:\ntold\nwhy"), "{ending:?}");
    bench.executor.stop().await;
}

fn which(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let candidates = std::env::split_paths(&path).map(|folder| folder.join(name));
    candidates.into_iter().find(|path| path.exists()).unwrap()
}

#[tokio::test]
async fn an_idle_program_is_ended_and_comes_back() {
    let mut bench = bench(|options| options.program_idle = Duration::from_millis(40));
    let program = own();
    let first = text(bench.run(task_of(&program, "pid")).await);
    let programs = bench.path("run/programs");
    let begin = Instant::now();
    while std::fs::read_dir(&programs).unwrap().next().is_some() {
        assert!(begin.elapsed() < PATIENCE, "it stays");
        tokio::task::yield_now().await;
    }
    assert!(!Path::new(&format!("/proc/{first}")).exists());
    assert_ne!(text(bench.run(task_of(&program, "pid")).await), first);
    bench.executor.stop().await;
}

#[tokio::test]
async fn the_end_of_the_executor_is_the_end_of_its_programs() {
    let mut bench = bench(|_| {});
    let pid = text(bench.run(task_of(&own(), "pid")).await);
    bench.executor.stop().await;
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    let refused = bench.executor.submit(task_of(&own(), "pid")).await;
    assert!(matches!(refused, Err(cov_exec::Error::Stopping)));
}

#[tokio::test]
async fn as_many_run_at_once_as_there_are_slots() {
    let mut bench = bench(|options| options.workers = 3);
    let program = own();
    let spinning: Vec<Task> = (0..3).map(|_| task_of(&program, "spin")).collect();
    let attempts: Vec<_> = spinning.iter().map(|task| task.attempt).collect();
    for task in spinning {
        bench.executor.submit(task).await.unwrap();
    }
    for _ in 0..3 {
        assert!(matches!(bench.next().await.event, Event::Begun));
    }
    for attempt in attempts {
        bench.executor.kill(attempt).await;
    }
    for _ in 0..3 {
        let Event::Ended(ending) = bench.next().await.event else { panic!() };
        assert!(matches!(ending.outcome, Outcome::Killed), "{ending:?}");
    }
    bench.executor.stop().await;
}
