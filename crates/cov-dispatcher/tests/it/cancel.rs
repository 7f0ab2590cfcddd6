//! Cancelling: before the start, in the queue, at work, in a race with the end, in part, through
//! sub-dispatches, and after the end.

use cov_core::graph::NodeKind;
use cov_core::ids::NodeId;
use cov_core::status::Status;
use cov_dispatcher::Error;
use cov_store::faulty::{Failure, Operation};
use serde_json::json;

use crate::support::{Flow, World, lattice, statuses};

const CANCELLED: Status = Status::Cancelled;

#[tokio::test(flavor = "multi_thread")]
async fn before_the_start_nothing_runs() {
    let world = World::new().await;
    let dispatch = world.register(&Flow::chain(3)).await;
    world.handle().cancel(&dispatch, &[]).await.unwrap();
    assert_eq!(world.record(&dispatch).await.summary.status, Status::NewObject);
    world.handle().start(&dispatch).await.unwrap();
    let record = world.end(&dispatch).await;
    assert_eq!(record.summary.status, CANCELLED);
    assert_eq!(world.executor().log(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_tasks_never_run_and_running_ones_are_killed() {
    let world = World::new().await;
    let dispatch = world.dispatch(&Flow::fan(50, &json!({"hang": true}))).await;
    world.executor().until(|executor| executor.running() == 2).await;
    world.handle().cancel(&dispatch, &[]).await.unwrap();
    let record = world.end(&dispatch).await;
    assert!(statuses(&record).iter().all(|status| *status == CANCELLED));
    assert_eq!((world.executor().log().len(), world.executor().kills().len()), (2, 2));
}

/// A slot that was granted to a queue whose owner has gone must go on to the next.
#[tokio::test(flavor = "multi_thread")]
async fn slots_of_a_cancelled_queue_go_to_others() {
    let world = World::with_slots(1).await;
    let first = world.dispatch(&Flow::fan(50, &json!({"hang": true}))).await;
    world.executor().until(|executor| executor.running() == 1).await;
    let second = world.dispatch(&Flow::fan(50, &json!({"gate": "g", "then": {}}))).await;
    world.handle().cancel(&first, &[]).await.unwrap();
    world.end(&first).await;
    world.gates.open("g");
    let record = world.end(&second).await;
    assert_eq!(record.summary.status, Status::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn chosen_nodes_and_what_stands_below_them() {
    let world = World::new().await;
    let mut flow = Flow::new();
    let gated = json!({"gate": "g", "then": {}});
    let (a, b) = (flow.task(gated.clone(), &[]), flow.task(gated, &[]));
    let (below_a, below_b) = (flow.task(json!({}), &[a]), flow.task(json!({}), &[b]));
    let last = flow.task(json!({}), &[below_b]);
    let dispatch = world.dispatch(&flow).await;
    world.executor().until(|executor| executor.running() == 2).await;
    world.handle().cancel(&dispatch, &[NodeId(a), NodeId(last)]).await.unwrap();
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    let (completed, new) = (Status::Completed, Status::NewObject);
    assert_eq!(statuses(&record), [CANCELLED, completed, new, completed, CANCELLED]);
    assert_eq!(record.summary.status, CANCELLED);
    assert_eq!(world.executor().runs(&dispatch, below_a), 0);
    assert_eq!(world.output(&dispatch, below_b).await, "2");
}

/// A task on its way to the executor, which waits for its inputs, is cancelled before it is there.
#[tokio::test(start_paused = true)]
async fn a_task_that_is_not_submitted_yet_never_runs() {
    let world = World::in_memory(1).await;
    let dispatch = world.register(&Flow::fan(2, &json!({"hang": true}))).await;
    world.faults.fail_all(Operation::Fetch, Failure::Unavailable);
    world.handle().start(&dispatch).await.unwrap();
    world.until(&dispatch, |record| statuses(record).contains(&Status::Running)).await;
    world.handle().cancel(&dispatch, &[]).await.unwrap();
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [CANCELLED; 2]);
    assert_eq!(world.executor().log(), []);
}

/// Cancelled means dead: a task that does not die is not CANCELLED, and one that ends by itself
/// has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ends_while_it_is_killed_has_ended() {
    let world = World::new().await;
    let script = json!({"gate": "g", "deaf": true, "then": {"return": 1}});
    let dispatch = world.dispatch(&Flow::fan(1, &script)).await;
    world.executor().until(|executor| executor.running() == 1).await;
    world.handle().cancel(&dispatch, &[]).await.unwrap();
    world.executor().until(|executor| !executor.kills().is_empty()).await;
    let record = world.record(&dispatch).await;
    assert_eq!(statuses(&record), [Status::Running]);
    assert!(record.nodes[0].state.cancel_requested);
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [Status::Completed]);
    assert_eq!(world.output(&dispatch, 0).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn races_with_the_end_leave_one_end() {
    let world = World::with_slots(8).await;
    for round in 0..30 {
        let flow = Flow::chain(round % 5 + 1);
        let dispatch = world.dispatch(&flow).await;
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        world.handle().cancel(&dispatch, &[]).await.unwrap();
        let record = world.end(&dispatch).await;
        let ended = statuses(&record);
        let whole = ended.iter().all(|status| *status == Status::Completed);
        let expected = if whole { Status::Completed } else { CANCELLED };
        assert_eq!(record.summary.status, expected, "{ended:?}");
    }
    assert_eq!(world.executor().running(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reaches_down_through_sub_dispatches() {
    let world = World::with_slots(1).await;
    let inner = lattice(&[json!({"hang": true}), json!({})]);
    let mut flow = Flow::new();
    let script = json!({"return": lattice(&[inner, json!({})])});
    let top = flow.task_of(NodeKind::Sublattice, script, &[]);
    flow.task(json!({}), &[top]);
    let dispatch = world.dispatch(&flow).await;
    // Two builders, then the task.
    world.executor().until(|executor| executor.log().len() == 3).await;
    world.handle().cancel(&dispatch, &[]).await.unwrap();
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [CANCELLED, Status::NewObject]);
    let middle = record.nodes[0].sub_dispatch.clone().unwrap();
    let middle = world.record(&middle).await;
    assert_eq!(statuses(&middle), [CANCELLED, Status::NewObject]);
    let inner = world.record(&middle.nodes[0].sub_dispatch.clone().unwrap()).await;
    assert_eq!(statuses(&inner), [CANCELLED, Status::NewObject]);
    assert_eq!(inner.summary.root_dispatch_id, dispatch);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_nothing_changes() {
    let world = World::new().await;
    let record = world.run(&Flow::chain(2)).await;
    let dispatch = record.summary.dispatch_id.clone();
    for nodes in [&[][..], &[NodeId(0)]] {
        world.handle().cancel(&dispatch, nodes).await.unwrap();
    }
    world.handle().start(&dispatch).await.unwrap();
    let after = world.record(&dispatch).await;
    assert_eq!(statuses(&after), statuses(&record));
    assert_eq!(after.summary, record.summary);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_said() {
    let world = World::new().await;
    let unknown = "no-such-dispatch".parse().unwrap();
    let error = world.handle().cancel(&unknown, &[]).await.unwrap_err();
    assert!(matches!(error, Error::DispatchNotFound { .. }), "{error:?}");
    let dispatch = world.register(&Flow::chain(2)).await;
    let error = world.handle().cancel(&dispatch, &[NodeId(1), NodeId(2)]).await.unwrap_err();
    assert!(matches!(error, Error::NodeNotFound { node: NodeId(2), .. }), "{error:?}");
    let untouched = world.record(&dispatch).await;
    assert!(untouched.nodes.iter().all(|node| !node.state.cancel_requested));
}
