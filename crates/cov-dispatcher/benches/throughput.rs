//! How many electrons a second pass through the dispatcher on SQLite when their tasks cost
//! nothing: a chain, where each step waits for the one before, and a fan. Prints one line each.
//! Says nothing of runners.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement: it reads the clock, prints, and ends at the first fault"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetKey, SmallContent};
use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, EdgeKind, NodeKind};
use cov_core::ids::{AttemptId, NodeId};
use cov_core::manifest::{LatticeInfo, Manifest, ManifestAsset, ManifestNode};
use cov_core::status::Status;
use cov_core::time::{Clock, Timestamp};
use cov_dispatcher::store::Blob;
use cov_dispatcher::sublattice::{BuiltLattice, SublatticeFormat};
use cov_dispatcher::{Executors, Handle, Options, Parts};
use cov_exec::{Ending, Event, Executor, Outcome, Payload, Report, Task};
use cov_store::SqliteStore;
use tokio::sync::mpsc;

const SLOTS: usize = 8;

/// Every task returns its number at once.
#[derive(Debug)]
struct Instantly(mpsc::Sender<Report>);

#[async_trait]
impl Executor for Instantly {
    fn slots(&self) -> usize {
        SLOTS
    }

    async fn submit(&self, task: Task) -> Result<(), cov_exec::Error> {
        let output = Payload::Bytes(task.node.to_string().into());
        let outcome = Outcome::Completed(output);
        let (stdout, stderr) = <_>::default();
        let ended = Event::Ended(Ending { outcome, stdout, stderr });
        for event in [Event::Begun, ended] {
            self.0.send(Report { attempt: task.attempt, event }).await.ok();
        }
        Ok(())
    }

    async fn kill(&self, _attempt: AttemptId) {}

    async fn live_output(&self, _attempt: AttemptId) -> Option<(Bytes, Bytes)> {
        None
    }

    async fn stop(&self) {}
}

#[derive(Debug)]
struct Nothing;

impl SublatticeFormat for Nothing {
    fn read(&self, _output: &Blob) -> Result<BuiltLattice, String> {
        Err("nothing here builds anything".to_owned())
    }
}

#[derive(Debug)]
struct Ticks(AtomicI64);

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

fn flow(nodes: u32, chain: bool) -> (Manifest, Bytes) {
    let function = Bytes::from("f");
    let content = SmallContent::new(function.clone()).content;
    let announced = Announced { size: content.size, sha1: Some(content.sha1) };
    let node = |id| ManifestNode {
        name: "task".into(),
        kind: NodeKind::Task,
        task_group: NodeId(id),
        executor: 0,
        status: Status::NewObject,
    };
    let edge = |id: u32| Edge {
        source: NodeId(id - 1),
        target: NodeId(id),
        name: "x".into(),
        kind: EdgeKind::Arg(0),
    };
    let asset = |id| ManifestAsset {
        address: AssetAddress::of_node(NodeId(id), AssetKey::Function),
        announced,
    };
    let manifest = Manifest {
        dispatch_id: None,
        lattice: LatticeInfo::default(),
        executors: vec![ExecutorSpec { name: "local".into(), data: serde_json::json!({}) }],
        nodes: (0..nodes).map(node).collect(),
        edges: if chain { (1..nodes).map(edge).collect() } else { Vec::new() },
        assets: (0..nodes).map(asset).collect(),
    };
    (manifest, function)
}

async fn measure(handle: &Handle, name: &str, nodes: u32, chain: bool) {
    let (manifest, function) = flow(nodes, chain);
    let begin = Instant::now();
    let registered = handle.register(manifest).await.unwrap();
    for address in &registered.uploads {
        let mut upload = handle.upload(&registered.dispatch, *address, None).await.unwrap();
        upload.write(function.clone()).await.unwrap();
        upload.finish().await.unwrap();
    }
    let known = begin.elapsed();
    let begin = Instant::now();
    handle.start(&registered.dispatch).await.unwrap();
    let started = begin.elapsed();
    handle.wait_for_end(&registered.dispatch, Duration::from_secs(600)).await;
    let took = begin.elapsed();
    let summary = handle.summary(&registered.dispatch).await.unwrap();
    assert_eq!(summary.status, Status::Completed);
    println!(
        "{name} of {nodes}: {:.0} electrons/s, {took:.1?} (registered in {known:.1?}, started \
         in {started:.1?})",
        f64::from(nodes) / took.as_secs_f64()
    );
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(folder.path()).await.unwrap());
    let (reporter, reports) = mpsc::channel(1_024);
    let parts = Parts {
        store: Arc::clone(&store) as _,
        contents: store,
        executors: Executors::new(Arc::new(Instantly(reporter))),
        reports,
        sublattices: Arc::new(Nothing),
        clock: Arc::new(Ticks(AtomicI64::new(0))),
    };
    let (handle, service) = cov_dispatcher::start(Options::default(), parts).await.unwrap();
    for _ in 0..2 {
        measure(&handle, "chain", 1_000, true).await;
        measure(&handle, "fan", 10_000, false).await;
    }
    measure(&handle, "chain", 10_000, true).await;
    measure(&handle, "fan", 100_000, false).await;
    let begin = Instant::now();
    let many = (0..200).map(|_| {
        let handle = handle.clone();
        tokio::spawn(async move { measure_quietly(&handle).await })
    });
    for one in many.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    let took = begin.elapsed();
    println!("200 dispatches of 5: {:.0} dispatches/s, {took:.1?}", 200.0 / took.as_secs_f64());
    service.stop(Duration::ZERO).await;
}

async fn measure_quietly(handle: &Handle) {
    let (manifest, _) = flow(5, true);
    let registered = handle.register(manifest).await.unwrap();
    handle.start(&registered.dispatch).await.unwrap();
    handle.wait_for_end(&registered.dispatch, Duration::from_secs(60)).await;
}
