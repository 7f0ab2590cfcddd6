//! How the states of dispatches and nodes change.

use std::sync::Arc;

use cov_core::error::Fault;
use cov_core::ids::NodeId;
use cov_core::status::Status;

use super::Harness;
use super::fixtures::{at, dispatch_state, id, node, node_state, register, set};
use crate::Error;
use crate::model::{Change, DispatchState, NodeState, Query};

/// Each opening may count one more, and no number comes twice.
pub async fn epochs_count_from_one_and_never_repeat(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    assert_eq!(opened.store.begin_epoch().await.unwrap(), 1);
    assert_eq!(opened.store.begin_epoch().await.unwrap(), 2);
    drop(opened);
    let opened = harness.open().await;
    assert_eq!(opened.store.begin_epoch().await.unwrap(), 3);
}

/// Every status, fault, time and number comes back as it was written.
pub async fn every_state_is_stored_whole(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    opened.store.commit(&[register("a", 3)]).await.unwrap();
    let faults =
        [Fault::Task, Fault::Runner, Fault::Executor, Fault::Timeout, Fault::Lost, Fault::Server];
    let of_status = Status::ALL.into_iter().filter(|status| *status != Status::Starting);
    let of_status = of_status.map(|status| node_state(status, 7));
    let of_fault =
        faults.map(|fault| NodeState { fault: Some(fault), ..node_state(Status::Failed, 1) });
    for state in of_status.chain(of_fault).chain([NodeState::default()]) {
        let change = Change::Node { node: NodeId(1), state };
        opened.store.commit(&[set("a", 1, vec![change])]).await.unwrap();
        assert_eq!(opened.store.load(&id("a")).await.unwrap().nodes[1].state, state);
        assert_eq!(opened.store.record(&id("a")).await.unwrap().nodes[1].state, state);
    }
    for status in
        [Status::Starting, Status::Running, Status::Completed, Status::Failed, Status::Cancelled]
    {
        let state = dispatch_state(status);
        opened.store.commit(&[set("a", 1, vec![Change::Dispatch(state)])]).await.unwrap();
        assert_eq!(opened.store.load(&id("a")).await.unwrap().state, state);
        let summary = opened.store.record(&id("a")).await.unwrap().summary;
        assert_eq!((summary.status, summary.started_at), (status, state.started_at));
        assert_eq!(summary.ended_at, state.ended_at);
    }
}

/// Changes apply in order, within a change set and within a batch.
pub async fn the_later_change_wins(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let state = |status| Change::Dispatch(dispatch_state(status));
    let batch = [
        register("a", 2),
        set("a", 1, vec![node(0, Status::Running, 1), node(0, Status::Completed, 1)]),
        set("a", 2, vec![state(Status::Starting), state(Status::Running)]),
        set("a", 3, vec![node(0, Status::Failed, 2), state(Status::Failed)]),
    ];
    opened.store.commit(&batch).await.unwrap();
    let record = opened.store.record(&id("a")).await.unwrap();
    assert_eq!(record.nodes[0].state, node_state(Status::Failed, 2));
    assert_eq!(record.summary.status, Status::Failed);
    assert_eq!((record.summary.completed_node_count, record.summary.updated_at), (0, at(3)));
    // A change of something else leaves the dispatch's state alone.
    opened.store.commit(&[set("a", 4, vec![node(1, Status::Running, 1)])]).await.unwrap();
    assert_eq!(opened.store.load(&id("a")).await.unwrap().state, dispatch_state(Status::Failed));
    let none = DispatchState { started_at: None, ..dispatch_state(Status::Running) };
    opened.store.commit(&[set("a", 5, vec![Change::Dispatch(none)])]).await.unwrap();
    assert_eq!(opened.store.load(&id("a")).await.unwrap().state, none);
}

/// The count of completed nodes follows the nodes, whatever they do.
pub async fn completed_nodes_are_counted(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    opened.store.commit(&[register("a", 4), register("b", 4)]).await.unwrap();
    let steps = [
        (vec![node(0, Status::Completed, 1)], 1),
        (vec![node(0, Status::Completed, 1)], 1),
        (vec![node(1, Status::Running, 1), node(2, Status::Completed, 1)], 2),
        (vec![node(1, Status::Completed, 1), node(3, Status::Failed, 1)], 3),
        (vec![node(2, Status::NewObject, 1)], 2),
        (vec![node(2, Status::Completed, 2), node(2, Status::Running, 3)], 2),
    ];
    for (step, (changes, expected)) in steps.into_iter().enumerate() {
        opened.store.commit(&[set("a", 1, changes)]).await.unwrap();
        let summary = opened.store.record(&id("a")).await.unwrap().summary;
        assert_eq!(summary.completed_node_count, expected, "after step {step}");
    }
    assert_eq!(opened.store.record(&id("b")).await.unwrap().summary.completed_node_count, 0);
}

/// One change that cannot be made, and none is.
pub async fn a_refused_batch_changes_nothing(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    opened.store.commit(&[register("a", 2), register("b", 2)]).await.unwrap();
    let good = set(
        "a",
        7,
        vec![node(0, Status::Completed, 1), Change::Dispatch(dispatch_state(Status::Running))],
    );
    for bad in [
        set("b", 7, vec![node(2, Status::Running, 1)]),
        set("no", 7, vec![node(0, Status::Running, 1)]),
        set("b", 7, vec![Change::Link { node: NodeId(0), child: id("no") }]),
        set("b", 7, vec![Change::Link { node: NodeId(2), child: id("a") }]),
        register("a", 1),
    ] {
        let refused = opened.store.commit(&[good.clone(), bad.clone()]).await;
        assert!(refused.is_err(), "{bad:?}");
        let summary = opened.store.record(&id("a")).await.unwrap().summary;
        assert_eq!((summary.status, summary.completed_node_count), (Status::NewObject, 0));
        assert_eq!(summary.updated_at, at(0));
    }
    opened.store.commit(&[good]).await.unwrap();
    assert_eq!(opened.store.record(&id("a")).await.unwrap().summary.completed_node_count, 1);
}

/// Commits and reads at the same time: every reader sees whole commits, and none is lost.
pub async fn commits_of_many_tasks_are_all_there(harness: &mut dyn Harness) {
    const TASKS: u32 = 8;
    const ROUNDS: u32 = 12;
    let opened = harness.open().await;
    opened
        .store
        .commit(&[register("a", TASKS * ROUNDS), register("b", TASKS * ROUNDS)])
        .await
        .unwrap();
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let store = Arc::clone(&opened.store);
        tasks.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                let own = task * ROUNDS + round;
                // The same node of both dispatches, in one commit.
                let half = |name| set(name, 1, vec![node(own, Status::Completed, 1)]);
                store.commit(&[half("a"), half("b")]).await?;
                let both = Query { ids: vec![id("a"), id("b")], ..Query::default() };
                let counts = store.summaries(&both).await?;
                let [b, a] = [0, 1].map(|index: usize| counts[index].completed_node_count);
                assert_eq!(a, b, "a reader saw half of a commit");
                let record = store.record(&id("a")).await?;
                let completed =
                    record.nodes.iter().filter(|node| node.state.status == Status::Completed);
                assert_eq!(completed.count(), record.summary.completed_node_count as usize);
            }
            Ok::<(), Error>(())
        }));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let summary = opened.store.record(&id("a")).await.unwrap().summary;
    assert_eq!(summary.completed_node_count, TASKS * ROUNDS);
}

/// Also a change set without changes is a change.
pub async fn each_change_set_moves_the_time_of_change(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    opened.store.commit(&[register("a", 1)]).await.unwrap();
    for (seconds, changes) in [(3, vec![node(0, Status::Running, 1)]), (4, vec![])] {
        opened.store.commit(&[set("a", seconds, changes)]).await.unwrap();
        let summary = opened.store.record(&id("a")).await.unwrap().summary;
        assert_eq!((summary.created_at, summary.updated_at), (at(0), at(seconds)));
    }
    opened.store.commit(&[]).await.unwrap();
}
