//! The server dies in the middle, is started again on the same data, and goes on.

use std::collections::HashMap;

use cov_core::asset::AssetKey;
use cov_core::error::Fault;
use cov_core::graph::NodeKind;
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::status::Status;
use cov_dispatcher::{Error, Options};
use cov_engine::event::OnRestart;
use cov_exec::{Ending, Event, Outcome, Payload};
use cov_store::Store;
use serde_json::json;

use crate::support::flow::built;
use crate::support::{Flow, World, lattice, of_node, statuses};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_complete_stays_and_what_ran_is_run_again() {
    let mut world = World::new().await;
    let mut flow = Flow::new();
    let first = flow.task(json!({"return": 5}), &[]);
    let second = flow.task(json!({"gate": "g", "then": {}}), &[first]);
    let third = flow.task(json!({}), &[second, first]);
    let dispatch = world.dispatch(&flow).await;
    world.until(&dispatch, |record| record.nodes[1].state.status == Status::Running).await;
    let attempt = world.record(&dispatch).await.nodes[1].state.attempt.unwrap();
    world.crash().await;
    world.executor().until_runs(&dispatch, second, 1).await;
    assert_eq!(world.executor().log()[0].attempt.epoch(), attempt.epoch() + 1);
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [Status::Completed; 3]);
    assert_eq!(world.output(&dispatch, third).await, "12");
    assert_eq!(world.executor().runs(&dispatch, first), 0);
    assert_eq!(record.nodes[1].state.failed_attempts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn running_tasks_fail_if_they_may_not_run_again() {
    let options = Options { on_restart: OnRestart::Fail, ..Options::default() };
    let mut world = World::with_options(options).await;
    let mut flow = Flow::fan(4, &json!({"gate": "g", "then": {}}));
    flow.task(json!({}), &[0]);
    let dispatch = world.dispatch(&flow).await;
    let running = |record: &cov_dispatcher::store::model::DispatchRecord| {
        statuses(record).iter().filter(|status| **status == Status::Running).count()
    };
    world.until(&dispatch, |record| running(record) == 2).await;
    world.gates.open("g");
    world.die().await;
    world.begin().await;
    let record = world.end(&dispatch).await;
    let lost = |node: &&_| {
        let node: &cov_dispatcher::store::model::NodeRecord = node;
        node.state.fault == Some(Fault::Lost)
    };
    assert_eq!(record.summary.status, Status::Failed);
    let lost = record.nodes.iter().filter(lost).count();
    assert!(lost <= 2, "{lost} were lost, and two ran");
    for node in &record.nodes[..4] {
        assert!(matches!(node.state.status, Status::Completed | Status::Failed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_reports_of_older_attempts_are_ignored() {
    let mut world = World::new().await;
    let dispatch = world.dispatch(&Flow::fan(1, &json!({"gate": "g", "then": {}}))).await;
    world.until(&dispatch, |record| record.nodes[0].state.status == Status::Running).await;
    let old = world.executor().log()[0].attempt;
    world.crash().await;
    world.executor().until_runs(&dispatch, 0, 1).await;
    for attempt in [old, AttemptId::new(9, 9)] {
        let outcome = Outcome::Completed(Payload::Bytes("\"old\"".into()));
        let (stdout, stderr) = <_>::default();
        world.executor().send(attempt, Event::Ended(Ending { outcome, stdout, stderr })).await;
        world.executor().send(attempt, Event::Begun).await;
        world.executor().send(attempt, Event::NotBegun).await;
    }
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(record.summary.status, Status::Completed);
    assert_eq!(world.output(&dispatch, 0).await, "1");
    assert_eq!(world.executor().runs(&dispatch, 0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_outlives_the_server() {
    let mut world = World::new().await;
    let script = json!({"gate": "g", "deaf": true, "then": {}});
    let dispatch = world.dispatch(&Flow::fan(3, &script)).await;
    world.executor().until(|executor| executor.running() == 2).await;
    world.handle().cancel(&dispatch, &[]).await.unwrap();
    world.crash().await;
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [Status::Cancelled; 3]);
    assert_eq!(world.executor().log(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_go_on_after_a_crash() {
    let mut world = World::new().await;
    let mut flow = Flow::chain(2);
    flow.task(json!({"return": "other"}), &[1]);
    let registered = world.handle().register(flow.manifest.clone()).await.unwrap();
    assert_eq!(registered.uploads.len(), 2);
    let dispatch = registered.dispatch;
    let (address, bytes) = flow.bytes[0].clone();
    world.upload(&dispatch, address, bytes).await.unwrap();
    world.crash().await;
    let refused = world.handle().start(&dispatch).await;
    let Err(Error::AssetsMissing { missing, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(missing, [of_node(2, AssetKey::Function)]);
    let (address, bytes) = flow.bytes[2].clone();
    world.upload(&dispatch, address, bytes).await.unwrap();
    world.handle().start(&dispatch).await.unwrap();
    assert_eq!(world.end(&dispatch).await.summary.status, Status::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_sub_dispatch_of_a_builder_that_died_is_dropped() {
    let mut world = World::new().await;
    let mut flow = Flow::new();
    let inner = lattice(&[json!({"return": 4}), json!({})]);
    let gated = json!({"gate": "g", "then": {"return": inner}});
    flow.task_of(NodeKind::Sublattice, json!({"tries": [gated]}), &[]);
    let dispatch = world.dispatch(&flow).await;
    world.until(&dispatch, |record| record.nodes[0].state.status == Status::Running).await;
    let child = world.register(&built(&[json!({"return": 6})])).await;
    world.handle().link(&dispatch, NodeId(0), &child).await.unwrap();
    world.crash().await;
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(record.summary.status, Status::Completed);
    assert_eq!(world.output(&dispatch, 0).await, "5");
    assert_ne!(record.nodes[0].sub_dispatch, Some(child.clone()));
    world.until(&child, |record| record.nodes[0].state.cancel_requested).await;
    assert_eq!(world.executor().runs(&child, 0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_dispatch_is_set_aside_and_the_others_go_on() {
    let mut world = World::new().await;
    let script = json!({"gate": "g", "then": {}});
    let damaged = world.dispatch(&Flow::fan(1, &script)).await;
    let healthy = world.dispatch(&Flow::fan(1, &script)).await;
    world.executor().until(|executor| executor.running() == 2).await;
    world.die().await;
    world.damaged = Some(damaged.clone());
    world.begin().await;
    world.gates.open("g");
    assert_eq!(world.end(&healthy).await.summary.status, Status::Completed);
    let refused = world.handle().cancel(&damaged, &[]).await.unwrap_err();
    assert_eq!(refused.code(), cov_core::error::ErrorCode::Quarantined, "{refused:?}");
    assert_eq!(world.executor().runs(&damaged, 0), 0);
    // It is shown as failed, with the reason, and no start tries it again.
    let summary = world.handle().summary(&damaged).await.unwrap();
    assert_eq!(summary.status, Status::Failed);
    assert!(summary.ended_at.is_some());
    let address = cov_core::asset::AssetAddress::of_dispatch(AssetKey::Error);
    let text = match world.handle().read_asset(&damaged, address).await.unwrap() {
        Some(cov_store::Blob::Small(text)) => String::from_utf8(text.to_vec()).unwrap(),
        other => panic!("no text: {other:?}"),
    };
    assert!(text.contains("set aside") && text.contains("told so"), "{text}");
    world.crash().await;
    let summary_again = world.handle().summary(&damaged).await.unwrap();
    assert_eq!(summary_again, summary);
}

/// The first attempt of a builder links a sub-dispatch and fails, the next one leaves an archive.
/// Wherever the server dies, the stale link is never followed.
#[tokio::test(flavor = "multi_thread")]
async fn a_sub_dispatch_of_an_earlier_attempt_never_stands_in() {
    let mut crashes = 0;
    for commits in 0.. {
        let mut world = World::new().await;
        let mut flow = Flow::new();
        let archive = json!({"return": lattice(&[json!({"return": 4}), json!({})])});
        let gated = json!({"gate": "g", "then": {"fail": "after linking"}});
        let tries = json!({"tries": [gated, archive, archive, archive]});
        let builder = flow.task_of(NodeKind::Sublattice, tries, &[]);
        flow.on(builder, "local", json!({"retries": 3}));
        let dispatch = world.dispatch(&flow).await;
        world.until(&dispatch, |record| record.nodes[0].state.status == Status::Running).await;
        let stale = world.register(&built(&[json!({"return": 6})])).await;
        world.handle().link(&dispatch, NodeId(0), &stale).await.unwrap();
        world.tap().die_after(commits);
        world.gates.open("g");
        let ended = async { drop(world.end(&dispatch).await) };
        let died = tokio::select! {
            () = ended => false,
            () = world.tap().died.notified() => true,
        };
        if died {
            crashes += 1;
            world.die().await;
            world.begin().await;
        }
        let record = world.end(&dispatch).await;
        assert_eq!(record.summary.status, Status::Completed, "crash {commits}");
        assert_eq!(world.output(&dispatch, 0).await, "5", "crash {commits}");
        assert_ne!(record.nodes[0].sub_dispatch, Some(stale.clone()), "crash {commits}");
        assert_eq!(world.executor().runs(&stale, 0), 0, "crash {commits}");
        if !died {
            break;
        }
    }
    assert!(crashes >= 4, "only {crashes} commits");
}

/// A workflow of every kind, without gates.
pub(crate) fn mixed() -> Flow {
    let mut flow = Flow::new();
    let first = flow.task(json!({"print": "one", "then": {"return": 1}}), &[]);
    let retried = flow.task(json!({"tries": [{"fail": "not yet"}, {}, {}, {}, {}]}), &[first]);
    flow.on(retried, "local", json!({"retries": 4}));
    let inner = lattice(&[json!({"return": 10}), json!({})]);
    let script = json!({"return": lattice(&[inner, json!({})])});
    let sub = flow.task_of(NodeKind::Sublattice, script, &[first]);
    let bad = flow.task(json!({"fail": "on purpose"}), &[first]);
    flow.task(json!({}), &[bad]);
    flow.task_of(NodeKind::Postprocess, json!({}), &[retried, sub]);
    flow
}

/// The process dies at each commit in turn; every time the dispatch ends as it should, and what
/// was stored as complete is never run again.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_commit_loses_nothing() {
    let mut crashes = 0;
    for commits in 0.. {
        let mut world = World::new().await;
        let dispatch = world.register(&mixed()).await;
        world.tap().die_after(commits);
        let started = {
            let start = world.handle().start(&dispatch);
            let life = world.life();
            tokio::select! {
                started = start => { started.unwrap(); true }
                () = life.tap.died.notified() => false,
            }
        };
        if started {
            let ended = async { drop(world.end(&dispatch).await) };
            tokio::select! {
                () = ended => break,
                () = world.tap().died.notified() => {}
            }
        }
        crashes += 1;
        world.die().await;
        let complete = complete_of_all(&*world.open().await.store, &dispatch).await;
        world.begin().await;
        if !started {
            world.handle().start(&dispatch).await.unwrap();
        }
        let record = world.end(&dispatch).await;
        check_mixed(&world, &record, commits).await;
        for (dispatch, node) in complete {
            let again = world.executor().runs(&dispatch, node);
            assert_eq!(again, 0, "crash {commits}: node {node} of {dispatch} was complete");
        }
    }
    assert!(crashes >= 6, "only {crashes} commits");
}

pub(crate) async fn check_mixed(
    world: &World,
    record: &cov_dispatcher::store::model::DispatchRecord,
    commits: u64,
) {
    let dispatch = &record.summary.dispatch_id;
    let (completed, failed, new) = (Status::Completed, Status::Failed, Status::NewObject);
    let expected = [completed, completed, completed, failed, new, completed];
    assert_eq!(statuses(record), expected, "crash {commits}");
    assert_eq!(world.output(dispatch, 2).await, "12", "crash {commits}");
    assert_eq!(world.output(dispatch, 5).await, "15", "crash {commits}");
    assert_eq!(world.error(dispatch, 3).await, "on purpose", "crash {commits}");
}

/// The complete task nodes of a dispatch and of all below it, as stored.
async fn complete_of_all(store: &dyn Store, top: &DispatchId) -> Vec<(DispatchId, u32)> {
    let mut complete = Vec::new();
    let mut dispatches = vec![top.clone()];
    while let Some(dispatch) = dispatches.pop() {
        let record = store.record(&dispatch).await.unwrap();
        for (id, node) in (0..).zip(&record.nodes) {
            let built = node.state.status == Status::Dispatching;
            if node.state.status == Status::Completed || built {
                complete.push((dispatch.clone(), id));
            }
            dispatches.extend(node.sub_dispatch.clone());
        }
    }
    complete
}

#[tokio::test(flavor = "multi_thread")]
async fn many_dispatches_are_resumed_together() {
    let mut world = World::with_slots(4).await;
    let script = json!({"gate": "g", "then": {}});
    let mut dispatches = HashMap::new();
    for _ in 0..100 {
        dispatches.insert(world.dispatch(&Flow::fan(2, &script)).await, ());
    }
    world.crash().await;
    world.gates.open("g");
    for dispatch in dispatches.keys() {
        assert_eq!(world.end(dispatch).await.summary.status, Status::Completed);
    }
}
