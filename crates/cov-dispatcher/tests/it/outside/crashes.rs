//! The server dies at each commit in turn, beside engines that go on.

use std::collections::BTreeSet;

use cov_core::asset::AssetKey;
use cov_core::graph::NodeKind;
use cov_core::ids::{AttemptId, DispatchId};
use cov_core::status::Status;
use cov_dispatcher::Options;
use cov_dispatcher::store::model::DispatchRecord;
use cov_store::Blob;
use cov_store::conformance::Opened;
use serde_json::{Value, json};

use super::{check_idle, until_job};
use crate::support::{Flow, World, lattice, statuses};

/// Tasks here and outside, one of which fails once, and a sublattice that is built outside.
fn mixed() -> Flow {
    let mut flow = Flow::new();
    let outside = |flow: &mut Flow, node| flow.on(node, "far", json!({"retries": 4}));
    // Each waits until it is known what its engine calls it, so that it goes on for a while.
    let job = |handle: &str, then: Value| json!({"accept": handle, "then": {"gate": handle, "then": then}});
    let first = flow.task(job("job 0", json!({"return": 1})), &[]);
    outside(&mut flow, first);
    let fails = job("first try", json!({"fail": "not yet"}));
    let works = job("second try", json!({}));
    let retried = flow.task(json!({"tries": [fails, works, works, works, works]}), &[first]);
    outside(&mut flow, retried);
    let inner = lattice(&[json!({"return": 10}), json!({})]);
    let script = job("job 2", json!({"return": inner}));
    let sub = flow.task_of(NodeKind::Sublattice, script, &[first]);
    outside(&mut flow, sub);
    let here = flow.task(json!({}), &[retried, sub]);
    let last = flow.task(job("job 4", json!({})), &[here]);
    outside(&mut flow, last);
    flow
}

const JOBS: [(u32, &str); 5] =
    [(0, "job 0"), (1, "first try"), (2, "job 2"), (1, "second try"), (4, "job 4")];

/// Lets each job end when it is stored.
async fn attend(world: &World, dispatch: &DispatchId) {
    for (node, handle) in JOBS {
        until_job(world, dispatch, node, handle).await;
        world.gates.open(handle);
    }
}

/// The attempts that run, and that the next server can ask for.
async fn going_on(opened: &Opened, dispatch: &DispatchId) -> BTreeSet<u64> {
    let stored = opened.store.load(dispatch).await.unwrap();
    let mut going_on = BTreeSet::new();
    for node in &stored.nodes {
        let (Some(job), Status::Running) = (&node.contents.job, node.state.status) else {
            continue;
        };
        let Blob::Small(text) = opened.contents.read(job).await.unwrap() else { panic!("small") };
        let job: Value = serde_json::from_slice(&text).unwrap();
        let attempt = node.state.attempt.unwrap().to_bits();
        if job["attempt"].as_u64() == Some(attempt) {
            going_on.insert(attempt);
        }
    }
    going_on
}

fn complete(record: &DispatchRecord) -> Vec<u32> {
    let is_over = |status| matches!(status, Status::Completed | Status::Dispatching);
    let nodes = (0..).zip(&record.nodes);
    nodes.filter(|(_, node)| is_over(node.state.status)).map(|(id, _)| id).collect()
}

async fn check(world: &World, record: &DispatchRecord, commits: u64) {
    let dispatch = &record.summary.dispatch_id;
    assert_eq!(statuses(record), [Status::Completed; 5], "crash {commits}");
    for (node, output) in [(0, "1"), (1, "2"), (2, "11"), (3, "14"), (4, "15")] {
        assert_eq!(world.output(dispatch, node).await, output, "crash {commits}");
    }
    check_idle(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_commit_runs_nothing_twice_that_goes_on() {
    let (mut crashes, mut taken_up) = (0, 0);
    for commits in 0.. {
        let mut world = World::with_far(2, Options::default()).await;
        let dispatch = world.register(&mixed()).await;
        world.handle().start(&dispatch).await.unwrap();
        world.tap().die_after(commits);
        let ended = async {
            let (_, record) = tokio::join!(attend(&world, &dispatch), world.end(&dispatch));
            drop(record);
        };
        tokio::select! {
            () = ended => break,
            () = world.tap().died.notified() => {}
        }
        crashes += 1;
        world.die().await;
        let opened = world.open().await;
        let going_on = going_on(&opened, &dispatch).await;
        let complete = complete(&opened.store.record(&dispatch).await.unwrap());
        drop(opened);
        JOBS.iter().for_each(|(_, handle)| world.gates.open(handle));
        world.begin().await;
        let record = world.end(&dispatch).await;
        check(&world, &record, commits).await;
        let far = world.far();
        let attached = far.attached();
        let attached: BTreeSet<u64> = attached.iter().map(|job| job.attempt.to_bits()).collect();
        assert_eq!(attached, going_on, "crash {commits}");
        taken_up += attached.len();
        // Only a failure of the attempt that goes on is followed by a run of its node.
        let again: Vec<AttemptId> = far
            .log()
            .iter()
            .filter(|ran| ran.dispatch == dispatch)
            .map(|ran| ran.attempt)
            .collect();
        assert!(again.iter().all(|attempt| attempt.epoch() == 2), "crash {commits}: {again:?}");
        for node in complete {
            assert_eq!(far.runs(&dispatch, node), 0, "crash {commits}: {node} was complete");
        }
        for job in far.attached() {
            let fails_once = &*job.handle == "first try";
            let runs = far.runs(&dispatch, job.node.0);
            assert!(runs == 0 || fails_once, "crash {commits}: {job:?} ran again");
        }
    }
    assert!(crashes >= 8, "only {crashes} commits");
    assert!(taken_up >= JOBS.len(), "only {taken_up} attempts went on");
    println!("{crashes} crashes, {taken_up} attempts taken up");
}

/// The key under which a handle is stored is no client's business.
#[test]
fn clients_do_not_see_the_key_of_a_job() {
    assert!(!AssetKey::OF_NODE.contains(&AssetKey::Job));
}
