//! Interpreters that cannot run tasks: the executor starts all the same and says what to do.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use cov_core::error::Fault;
use cov_exec::{Ending, Event, Executor as _};

use crate::support::*;

/// A program that starts the interpreter for tests in some other way.
fn script(folder: &tempfile::TempDir, arguments: &str) -> PathBuf {
    let path = folder.path().join("python");
    let text = format!("#!/bin/sh\nexec '{}' {arguments} \"$@\"\n", python().display());
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// The interpreter for tests, with this source as its covalent.
fn with_covalent(folder: &tempfile::TempDir, source: &str) -> PathBuf {
    let package = folder.path().join("covalent");
    std::fs::create_dir(&package).unwrap();
    std::fs::write(package.join("__init__.py"), source).unwrap();
    let path = script(folder, "");
    let exported = format!("#!/bin/sh\nexport PYTHONPATH='{}'", folder.path().display());
    let text = std::fs::read_to_string(&path).unwrap().replacen("#!/bin/sh", &exported, 1);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_cold_executor_starts_python_with_its_first_task() {
    let folder = tempfile::tempdir().unwrap();
    let started = folder.path().join("started");
    let path = script(&folder, "");
    let marks = format!("#!/bin/sh\n: > '{}'", started.display());
    let text = std::fs::read_to_string(&path).unwrap().replacen("#!/bin/sh", &marks, 1);
    std::fs::write(&path, text).unwrap();
    let mut bench = Bench::with(|options| {
        options.python = Some(path);
        options.warm = false;
    });
    bench.executor.kill(task("result = 0").attempt).await;
    assert!(!started.exists(), "nothing needs it yet");
    assert_eq!(bench.eval("result = 6 * 7").await, "42");
    assert!(started.exists());
    bench.executor.stop().await;
}

async fn refused(bench: &mut Bench) -> Ending {
    let task = task("result = 1");
    let attempt = task.attempt;
    bench.executor.submit(task).await.unwrap();
    let report = bench.next().await;
    assert_eq!(report.attempt, attempt);
    let Event::Ended(ending) = report.event else { panic!("{:?}", report.event) };
    ending
}

#[tokio::test]
async fn without_python_tasks_fail_until_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("python");
    let mut bench = Bench::with(|options| options.python = Some(path.clone()));
    for _ in 0..2 {
        let ending = refused(&mut bench).await;
        let (fault, message) = failed(&ending);
        assert_eq!(fault, Fault::Executor);
        for said in [path.to_str().unwrap(), "--python", "pip install covalent==0.240.0"] {
            assert!(message.contains(said), "{message}");
        }
    }
    script(&folder, "");
    assert_eq!(bench.eval("result = 1").await, "1");
}

#[tokio::test]
async fn without_cloudpickle_tasks_fail_until_it_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    // Without site-packages, any interpreter lacks it.
    let path = script(&folder, "-S -E");
    let mut bench = Bench::with(|options| options.python = Some(path.clone()));
    let ending = refused(&mut bench).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Executor);
    let install = format!("{} -m pip install covalent==0.240.0", path.display());
    for said in ["lacks cloudpickle", "No module named 'cloudpickle'", &install] {
        assert!(message.contains(said), "{message}");
    }
    script(&folder, "");
    assert_eq!(bench.eval("result = 1").await, "1");
}

#[tokio::test]
async fn a_python_that_is_too_old_is_named_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let pretend = "-c \"import sys; sys.version_info = (3, 7, 17); sys.argv = sys.argv[1:]; exec(open(sys.argv[0]).read())\"";
    let path = script(&folder, pretend);
    let mut bench = Bench::with(|options| options.python = Some(path.clone()));
    let ending = refused(&mut bench).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Executor);
    for said in ["too old", "3.7.17", "3.8 or newer"] {
        assert!(message.contains(said), "{message}");
    }
}

#[tokio::test]
async fn folders_that_cannot_be_used_are_named() {
    let mut bench = Bench::with(|options| options.run_dir = PathBuf::from("/dev/null/run"));
    let ending = refused(&mut bench).await;
    let (fault, message) = failed(&ending);
    assert_eq!(fault, Fault::Executor);
    assert!(message.contains("/dev/null/run"), "{message}");
}

#[tokio::test]
async fn a_covalent_that_starts_threads_is_imported_after_the_fork() {
    let folder = tempfile::tempdir().unwrap();
    let source = "import threading\n__version__ = '9.9'\n\
                  threading.Thread(target=threading.Event().wait, daemon=True).start()\n";
    let path = with_covalent(&folder, source);
    let mut bench = Bench::with(|options| options.python = Some(path));
    let source = "import os, sys\nthreads = os.listdir(f'/proc/{os.getppid()}/task')\n\
                  result = (len(threads), sys.modules['covalent'].__version__)";
    assert_eq!(bench.eval(source).await, "(1, '9.9')");
}

#[tokio::test]
async fn a_covalent_that_cannot_be_imported_stops_only_tasks_that_need_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = with_covalent(&folder, "raise RuntimeError('broken')\n");
    let mut bench = Bench::with(|options| options.python = Some(path));
    assert_eq!(bench.eval("result = 1").await, "1");
    let ending = bench.run(task("import covalent")).await;
    assert!(failed(&ending).1.contains("RuntimeError: broken"), "{:?}", failed(&ending));
}

#[tokio::test]
async fn runners_that_die_before_they_take_a_task_fail_it() {
    let folder = tempfile::tempdir().unwrap();
    // The thread has it imported by each runner, which then ends.
    let source = "import os, sys, threading\n\
                  if '--import-covalent-late' in sys.argv: os._exit(9)\n\
                  threading.Thread(target=threading.Event().wait, daemon=True).start()\n";
    let path = with_covalent(&folder, source);
    let mut bench = Bench::with(|options| options.python = Some(path));
    for _ in 0..2 {
        let ending = refused(&mut bench).await;
        let (fault, message) = failed(&ending);
        assert_eq!(fault, Fault::Executor);
        assert!(message.contains("exited with code 9"), "{message}");
    }
}

#[tokio::test]
async fn an_interpreter_that_is_still_starting_is_ended_by_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let line = Line::new(folder.path());
    let source = format!("{}wait()\n", line.prelude());
    let path = with_covalent(&folder, &source);
    let bench = Bench::with(|options| options.python = Some(path));
    let talk = line.answer().await;
    bench.executor.stop().await;
    talk.gone().await;
}
