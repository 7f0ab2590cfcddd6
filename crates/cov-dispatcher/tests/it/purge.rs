//! Purging a dispatcher that is at work.

use std::time::Duration;

use cov_core::graph::NodeKind;
use cov_core::status::Status;
use cov_dispatcher::store::model::Query;
use serde_json::json;

use crate::support::{Flow, World, lattice};

#[tokio::test(flavor = "multi_thread")]
async fn ended_dispatches_go_while_others_run() {
    let world = World::with_slots(4).await;
    let mut flow = Flow::new();
    let script = json!({"return": lattice(&[json!({})])});
    let sub = flow.task_of(NodeKind::Sublattice, script, &[]);
    flow.task_of(NodeKind::Postprocess, json!({}), &[sub]);
    let whole = world.run(&flow).await;
    let failed = world.run(&Flow::fan(1, &json!({"fail": "on purpose"}))).await;
    let busy = world.dispatch(&Flow::fan(2, &json!({"gate": "g", "then": {}}))).await;
    world.executor().until(|executor| executor.running() == 2).await;

    let handle = world.handle();
    let completed = vec![Status::Completed];
    let would = handle.purge(Duration::ZERO, completed.clone(), true).await.unwrap();
    assert_eq!(would.dispatches, 2, "with its sub-dispatch");
    let long_ago = Duration::from_secs(1_000_000_000);
    assert_eq!(handle.purge(long_ago, Vec::new(), false).await.unwrap().dispatches, 0);
    assert_eq!(handle.purge(Duration::ZERO, completed, false).await.unwrap(), would);
    let gone = handle.summary(&whole.summary.dispatch_id).await.unwrap_err();
    assert_eq!(gone.code(), cov_core::error::ErrorCode::DispatchNotFound);
    handle.summary(&failed.summary.dispatch_id).await.unwrap();
    let refused = handle.purge(Duration::ZERO, vec![Status::Running], false).await.unwrap_err();
    assert_eq!(refused.code(), cov_core::error::ErrorCode::IllegalState);
    assert_eq!(handle.purge(Duration::ZERO, Vec::new(), false).await.unwrap().dispatches, 1);

    world.gates.open("g");
    assert_eq!(world.end(&busy).await.summary.status, Status::Completed);
    assert_eq!(handle.purge(Duration::ZERO, Vec::new(), false).await.unwrap().dispatches, 1);
    assert_eq!(world.handle().count(&Query::default()).await.unwrap(), 0);
}
