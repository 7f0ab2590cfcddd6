//! The scenarios. Single-threaded, but for what the store does by itself.

use std::hint::black_box;
use std::time::Duration;

use cov_benches::{commits, lives, manifests, objects, servers};
use cov_core::frames::{FromRunner, Message as _, ToRunner};
use cov_core::manifest::document::Document;
use cov_core::transportable::{Encoding, TransportableObject};
use cov_dispatcher::store::Blob;
use cov_dispatcher::sublattice::SublatticeFormat as _;
use cov_engine::dispatch::Dispatch;
use cov_engine::scheduler::Scheduler;
use cov_http::StagingArchive;
use cov_store::{SqliteStore, Store as _};

/// Most rounds that a scenario can run.
pub(crate) const ROUNDS_MAX: usize = 2;

/// Electrons of a workflow.
const ELECTRONS: u32 = 1_000;

/// How often a round does what is short.
const REPEATS: usize = 100;

/// A name, and what takes the number of rounds.
type Scenario = (&'static str, fn(usize));

pub(crate) const ALL: &[Scenario] = &[
    ("archive", archive),
    ("frames", frames),
    ("covalent-manifest", covalent_manifest),
    ("native-manifest", native_manifest),
    ("graph", graph),
    ("life", life),
    ("scheduler", scheduler),
    ("commit", commit),
    ("dispatch", dispatch),
];

/// Encoding and decoding a `TransportableObject` of 1 KB, 100 times.
fn archive(rounds: usize) {
    let object = objects::object(1_000, Encoding::Cloudpickle);
    for _ in 0..rounds * REPEATS {
        let archive = black_box(&object).to_archive();
        black_box(TransportableObject::from_archive(&archive).expect("it was just written"));
    }
}

/// Encoding and decoding what goes to a runner for one task and what comes back, 100 times.
fn frames(rounds: usize) {
    let (task, ended) = (objects::task_message(), objects::ended_message());
    for _ in 0..rounds * REPEATS {
        let frame = black_box(&task).to_frame().expect("it is short");
        black_box(ToRunner::from_frame(&frame).expect("it was just written"));
        let frame = black_box(&ended).to_frame().expect("it is short");
        black_box(FromRunner::from_frame(&frame).expect("it was just written"));
    }
}

/// Reading the manifest of a fan of 1,000 as the SDK writes it, out of the archive of a task.
fn covalent_manifest(rounds: usize) {
    let staged = Blob::Small(manifests::staged(ELECTRONS));
    let format = StagingArchive { nodes_max: usize::MAX };
    for _ in 0..rounds {
        black_box(format.read(black_box(&staged)).expect("it is a manifest"));
    }
}

/// Reading and checking the manifest of the same workflow as the native API takes it.
fn native_manifest(rounds: usize) {
    let text = manifests::native(ELECTRONS);
    for _ in 0..rounds {
        let document: Document = serde_json::from_str(black_box(&text)).expect("it is a document");
        let parts = document.into_parts();
        black_box(parts.manifest.graph(usize::MAX).expect("it is a graph"));
    }
}

/// Planning a fan of 1,000.
fn graph(rounds: usize) {
    let edges = lives::fan(ELECTRONS);
    for _ in 0..rounds {
        black_box(lives::plan(ELECTRONS, black_box(&edges)));
    }
}

/// Every `apply` in the life of a fan of 1,000.
fn life(rounds: usize) {
    let plan = lives::plan(ELECTRONS, &lives::fan(ELECTRONS));
    let fresh = [plan.clone(), plan].map(Dispatch::new);
    for dispatch in fresh.into_iter().take(rounds) {
        black_box(lives::run(dispatch));
    }
}

/// Granting a slot 10 times to each of 1,000 dispatches.
fn scheduler(rounds: usize) {
    for _ in 0..rounds {
        let mut scheduler = Scheduler::new(2);
        for work in 0..10_u32 {
            (0..ELECTRONS).for_each(|dispatch| scheduler.enqueue(dispatch, work));
        }
        while let Some(work) = scheduler.grant() {
            black_box(work);
            scheduler.release();
        }
    }
}

/// 10 commits of the states of 100 nodes, in SQLite.
fn commit(rounds: usize) {
    with_store(async |store| {
        store.commit(&[commits::registration()]).await.expect("it is the first");
        let numbers = (0..).take(10 * ROUNDS_MAX);
        let batches: Vec<_> = numbers.map(|number| commits::batch(number, 100)).collect();
        for batch in batches.iter().take(10 * rounds) {
            store.commit(batch).await.expect("the disk has space");
        }
    });
}

/// A fan of 1,000 through the dispatcher, from its registration to its end, in SQLite. Its tasks
/// cost nothing.
fn dispatch(rounds: usize) {
    with_store(async |store| {
        let (handle, service) = servers::start(store).await;
        let workflow = servers::workflow(ELECTRONS, lives::fan(ELECTRONS));
        servers::run(&handle, servers::workflow(1, Vec::new())).await;
        let workflows = [workflow.clone(), workflow];
        for workflow in workflows.into_iter().take(rounds) {
            servers::run(&handle, workflow).await;
        }
        drop(handle);
        service.stop(Duration::ZERO).await;
    });
}

/// Does something with an empty store.
fn with_store(work: impl AsyncFnOnce(SqliteStore)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system has events");
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    runtime.block_on(async {
        let store = SqliteStore::open(folder.path()).await.expect("the folder is empty");
        work(store).await;
    });
}
