//! One task that does nothing through the local executor, from handing it over to the report of its end, with the
//! runner warm: in Python and in Rust. The limit: a socket round trip between two processes, 20 to 60 us, and for
//! Python the unpickling and pickling, 60 to 100 us more. Waking an idle core is most of it when the machine rests.
//!
//! `COV_TEST_PYTHON` names the interpreter, which needs cloudpickle; otherwise it is the one of `cargo xtask sdk-venv`.

#![expect(clippy::expect_used, reason = "a bench that cannot go on has to end")]

use std::cell::Cell;
use std::path::{Path, PathBuf};

use cov::electron;
use cov_benches::objects::object;
use cov_core::asset::{AssetKey, ContentDigest};
use cov_core::ids::{AttemptId, NodeId};
use cov_core::transportable::{Encoding, TransportableObject};
use cov_exec::local::{LocalExecutor, LocalOptions};
use cov_exec::{Event, Executor as _, Outcome, Payload, Program, Report, Runtime, Task};
use criterion::{Criterion, criterion_group};
use tokio::sync::mpsc;

#[electron]
fn nothing() {}

fn main() {
    cov_exec::keeper::init();
    cov::runner::init();
    round_trips();
    Criterion::default().configure_from_args().final_summary();
}

fn python() -> Option<PathBuf> {
    let named = std::env::var_os("COV_TEST_PYTHON").map(PathBuf::from);
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sdk-venv/bin/python");
    named.or_else(|| made.canonicalize().is_ok().then_some(made))
}

fn task(runtime: Runtime, function: Vec<u8>) -> Task {
    Task {
        attempt: AttemptId::new(1, 0),
        dispatch: "bench".parse().expect("letters make an id"),
        node: NodeId(0),
        runtime,
        engine: None,
        function: Payload::Bytes(function.into()),
        hooks: None,
        run_callables: false,
        args: Vec::new(),
        kwargs: Vec::new(),
        work_dir: None,
        timed: false,
    }
}

/// Calls `list()`.
fn python_task() -> Task {
    let pickle = b"cbuiltins\nlist\n.".as_slice();
    let function = TransportableObject { data: pickle.into(), ..object(0, Encoding::Cloudpickle) };
    task(Runtime::Python, function.to_archive())
}

/// Calls `nothing`, in this program.
fn rust_task() -> Task {
    let lattice = cov::graph::build("nothing", nothing::node).expect("it is a graph");
    let bundle = lattice.bundle();
    let mut assets = bundle.manifest.assets.iter().map(|asset| asset.address.key);
    let function = assets.position(|key| key == AssetKey::Function);
    let function = function.and_then(|index| bundle.bytes_of(index));
    let path = std::env::current_exe().expect("this program runs");
    let mut digest = ContentDigest::default();
    digest.update(&std::fs::read(&path).expect("it can be read"));
    let (digest, content) = (digest.finish().id, Payload::File(path));
    let program = Program { digest, content, address: None, memory_bytes_max: None };
    task(Runtime::Program(program), function.expect("an electron has a function").to_vec())
}

/// The end of the one task under way.
async fn end(reports: &mut mpsc::Receiver<Report>) -> Outcome {
    loop {
        let report = reports.recv().await.expect("the executor lives");
        if let Event::Ended(ending) = report.event {
            return ending.outcome;
        }
    }
}

fn both(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("the system has threads");
    let _inside = runtime.enter();
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let (run, spool) = (folder.path().join("run"), folder.path().join("spool"));
    let options = LocalOptions {
        python: python(),
        workers: 1,
        ..LocalOptions::new(run, spool, "http://localhost:1".into())
    };
    let (sender, mut reports) = mpsc::channel(64);
    let executor = LocalExecutor::start(options, sender);
    let attempts = Cell::new(0);
    let mut group = criterion.benchmark_group("runner round trip");
    for (name, task) in [("rust", rust_task()), ("python", python_task())] {
        let mut round = || {
            attempts.set(attempts.get() + 1);
            let task = Task { attempt: AttemptId::new(1, attempts.get()), ..task.clone() };
            runtime.block_on(async {
                executor.submit(task).await.expect("it does not stop");
                let outcome = end(&mut reports).await;
                assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
            });
        };
        round();
        group.bench_function(name, |bencher| bencher.iter(&mut round));
    }
    group.finish();
    runtime.block_on(executor.stop());
}

criterion_group!(round_trips, both);
