//! Stopping in order: what ends in time is kept, the rest is resumed, nobody waits in vain.

use std::time::Duration;

use cov_core::graph::NodeKind;
use cov_core::status::Status;
use cov_dispatcher::Error;
use cov_store::faulty::{Failure, Operation};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{Flow, World, lattice, statuses};

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn tasks_end_within_the_grace_and_their_results_are_kept() {
    let mut world = World::new().await;
    let dispatch = world.dispatch(&Flow::fan(6, &json!({"gate": "g", "then": {}}))).await;
    world.executor().until(|executor| executor.running() == 2).await;
    let gates = world.gates.clone();
    let opener = tokio::spawn(async move { gates.open("g") });
    let (_, executor) = world.stop(GRACE).await;
    opener.await.unwrap();
    let before = executor.log().len();
    world.begin().await;
    let record = world.end(&dispatch).await;
    assert_eq!(record.summary.status, Status::Completed);
    // Nothing ran twice: all that had ended was stored.
    assert_eq!(before + world.executor().log().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_came_last_are_kept_while_a_commit_is_slow() {
    let mut world = World::with_slots(4).await;
    let dispatch = world.dispatch(&Flow::fan(4, &json!({"gate": "g", "then": {}}))).await;
    world.executor().until(|executor| executor.running() == 4).await;
    let held = world.tap().hold().await;
    world.gates.open("g");
    world.executor().until(|executor| executor.running() == 0).await;
    let releasing = tokio::spawn(async move {
        tokio::task::yield_now().await;
        drop(held);
    });
    world.stop(GRACE).await;
    releasing.await.unwrap();
    world.begin().await;
    world.end(&dispatch).await;
    assert_eq!(world.executor().log(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_resumed() {
    let mut world = World::new().await;
    let script = json!({"tries": [{"hang": true}]});
    let dispatch = world.dispatch(&Flow::fan(3, &script)).await;
    world.executor().until(|executor| executor.running() == 2).await;
    let (_, executor) = world.stop(Duration::ZERO).await;
    assert_eq!(executor.kills(), []);
    world.begin().await;
    world.executor().until(|executor| executor.running() == 2).await;
    let record = world.record(&dispatch).await;
    assert_eq!(record.summary.status, Status::Running);
    let epochs: Vec<_> = world.executor().log().iter().map(|ran| ran.attempt.epoch()).collect();
    assert_eq!(epochs, [2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_refused_and_waiting_callers_are_answered() {
    let mut world = World::new().await;
    let dispatch = world.dispatch(&Flow::fan(1, &json!({"hang": true}))).await;
    let registered = world.register(&Flow::chain(1)).await;
    let (handle, waiting) = (world.handle().clone(), dispatch.clone());
    let waiter = tokio::spawn(async move {
        handle.wait_for_end(&waiting, Duration::from_secs(3_600)).await;
    });
    world.life().service.close();
    waiter.await.unwrap();
    assert!(!world.handle().is_ready());
    let handle = world.handle().clone();
    let flow = Flow::chain(1);
    let (address, _) = flow.bytes[0];
    for refused in [
        handle.register(flow.manifest.clone()).await.map(|_| ()),
        handle.start(&registered).await.map(drop),
        handle.cancel(&dispatch, &[]).await.map(drop),
        handle.link(&dispatch, cov_core::ids::NodeId(0), &registered).await,
        handle.upload(&registered, address, None).await.map(|_| ()),
    ] {
        assert!(matches!(refused, Err(Error::Stopping)), "{refused:?}");
    }
    // What is known can still be read.
    assert_eq!(handle.summary(&dispatch).await.unwrap().status, Status::Running);
    world.stop(Duration::ZERO).await;
}

/// A command that waits for a slow commit is answered truly.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_its_way_is_answered() {
    let mut world = World::new().await;
    let dispatch = world.dispatch(&Flow::fan(1, &json!({"hang": true}))).await;
    world.executor().until(|executor| executor.running() == 1).await;
    let held = world.tap().hold().await;
    let (handle, cancelled) = (world.handle().clone(), dispatch.clone());
    let command = tokio::spawn(async move { handle.cancel(&cancelled, &[]).await });
    world.executor().until(|executor| !executor.kills().is_empty()).await;
    let releasing = tokio::spawn(async move {
        tokio::task::yield_now().await;
        drop(held);
    });
    world.stop(Duration::ZERO).await;
    releasing.await.unwrap();
    let answer = command.await.unwrap();
    world.begin().await;
    let record = world.record(&dispatch).await;
    match answer {
        Ok(_) => assert!(record.nodes[0].state.cancel_requested),
        Err(error) => assert!(matches!(error, Error::Stopping), "{error:?}"),
    }
}

/// Parents of sub-dispatches must not spin while the server waits for tasks.
#[tokio::test(flavor = "multi_thread")]
async fn a_parent_waits_quietly_during_the_grace() {
    let mut world = World::new().await;
    let mut flow = Flow::new();
    let script = json!({"return": lattice(&[json!({"gate": "g", "then": {}})])});
    flow.task_of(NodeKind::Sublattice, script, &[]);
    let dispatch = world.dispatch(&flow).await;
    world.executor().until(|executor| executor.log().len() == 2).await;
    world.life().service.close();
    let reads = world.faults.calls(Operation::Read);
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    // A round trip through the store, so that a spinning task had its time.
    for _ in 0..20 {
        world.handle().summary(&dispatch).await.unwrap();
    }
    let reads = world.faults.calls(Operation::Read) - reads;
    assert!(reads <= 25, "{reads} reads while nothing happened");
    world.gates.open("g");
    world.stop(GRACE).await;
    world.begin().await;
    assert_eq!(statuses(&world.end(&dispatch).await), [Status::Completed]);
}

/// A store that is away cannot hold up a stop.
#[tokio::test(start_paused = true)]
async fn a_stop_ends_though_the_store_is_away() {
    let mut world = World::in_memory(4).await;
    let large = "x".repeat(100_000);
    let mut flow = Flow::new();
    let gated = |then| json!({"gate": "g", "then": then});
    flow.task(gated(json!({"fail": large})), &[]);
    flow.task(gated(json!({"return": large})), &[]);
    flow.task(gated(json!({"return": 1})), &[]);
    let script = json!({"return": lattice(&[json!({})])});
    flow.task_of(NodeKind::Sublattice, script, &[]);
    let dispatch = world.dispatch(&flow).await;
    world.executor().until(|executor| executor.log().len() == 4).await;
    use Operation::{Adopt, Commit, Fetch, Finish, Open, Read, Write};
    for operation in [Adopt, Commit, Fetch, Finish, Open, Read, Write] {
        world.faults.fail_all(operation, Failure::Unavailable);
    }
    world.gates.open("g");
    world.executor().until(|executor| executor.running() == 0).await;
    let begin = Instant::now();
    world.stop(Duration::from_secs(1)).await;
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    world.faults.mend();
    world.begin().await;
    let record = world.end(&dispatch).await;
    let (completed, failed) = (Status::Completed, Status::Failed);
    assert_eq!(statuses(&record), [failed, completed, completed, completed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_with_nothing_to_do_is_quick() {
    let mut world = World::new().await;
    world.run(&Flow::chain(3)).await;
    let begin = Instant::now();
    let (handle, _) = world.stop(GRACE).await;
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    assert!(!handle.is_ready());
}
