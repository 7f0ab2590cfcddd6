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
