//! A store that is away, refuses a step or stops while attempts are taken up: none is killed, lost
//! or run again for that unless its owner has to begin anew.

use std::time::Duration;

use cov_core::graph::NodeKind;
use cov_core::ids::NodeId;
use cov_core::status::Status;
use cov_dispatcher::Options;
use cov_store::faulty::{Failure, Operation};
use serde_json::json;

use super::{CANCELLED, COMPLETED, accepted, attempt_of, check_idle, flow_of, until_job};
use crate::support::flow::built;
use crate::support::{Flow, World, lattice, statuses};

/// What is loaded again because of a fault was killed, so there is nothing to take up.
#[tokio::test(flavor = "multi_thread")]
async fn a_dispatch_that_is_loaded_again_takes_nothing_up() {
    let mut world = World::with_far(1, Options::default()).await;
    let mut flow = flow_of(accepted("job 1", &json!({"return": 5})));
    flow.task(json!({}), &[1]);
    let dispatch = world.dispatch(&flow).await;
    until_job(&world, &dispatch, 0, "job 1").await;
    let old = attempt_of(&world, &dispatch, 0).await;
    world.crash().await;
    world.far().until(|far| far.running() == 1).await;
    world.tap().refuse_next();
    world.handle().cancel(&dispatch, &[NodeId(2)]).await.unwrap_err();
    world.far().until_runs(&dispatch, 0, 1).await;
    assert_eq!(world.far().kills(), [old]);
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [COMPLETED; 3]);
    assert_eq!(record.nodes[0].state.attempt.unwrap().epoch(), 2);
    assert_eq!((world.far().attached().len(), world.far().log().len()), (1, 1));
    check_idle(&world);
    // The only slot is free again.
    let other = world.dispatch(&flow_of(json!({"return": 1}))).await;
    assert_eq!(statuses(&world.end(&other).await), [COMPLETED; 2]);
}

/// Also when its owner gave up, and another one serves the next who asks.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_comes_after_a_fault_takes_nothing_up() {
    let mut world = World::with_far(1, Options::default()).await;
    let dispatch = world.dispatch(&flow_of(accepted("job 1", &json!({"return": 5})))).await;
    until_job(&world, &dispatch, 0, "job 1").await;
    world.crash().await;
    world.far().until(|far| far.running() == 1).await;
    world.tap().refuse_all_of(&dispatch);
    world.handle().cancel(&dispatch, &[]).await.unwrap_err();
    world.tap().refuse_nothing();
    world.handle().cancel(&dispatch, &[]).await.unwrap();
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record)[0], CANCELLED);
    assert_eq!(world.far().attached().len(), 1);
    world.far().until(|far| far.running() == 0).await;
    let other = world.dispatch(&flow_of(json!({"return": 1}))).await;
    assert_eq!(statuses(&world.end(&other).await), [COMPLETED; 2]);
    check_idle(&world);
}

/// Cancelled means dead, also of what cannot be asked for yet.
#[tokio::test(start_paused = true)]
async fn a_cancel_while_the_handle_cannot_be_read_kills_in_the_end() {
    let mut world = World::far_in_memory(1).await;
    let dispatch = world.dispatch(&flow_of(accepted("job 1", &json!({"return": 5})))).await;
    until_job(&world, &dispatch, 0, "job 1").await;
    let attempt = attempt_of(&world, &dispatch, 0).await;
    world.die().await;
    world.faults.fail_all(Operation::Fetch, Failure::Unavailable);
    world.begin().await;
    world.handle().cancel(&dispatch, &[]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(statuses(&world.record(&dispatch).await)[0], Status::Running);
    world.faults.mend();
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [CANCELLED, Status::NewObject]);
    assert_eq!(world.far().kills(), [attempt]);
}

/// A server that stops before it could ask leaves the job to the next one.
#[tokio::test(start_paused = true)]
async fn a_stop_while_the_handle_cannot_be_read_loses_nothing() {
    let mut world = World::far_in_memory(1).await;
    let dispatch = world.dispatch(&flow_of(accepted("job 1", &json!({"return": 5})))).await;
    until_job(&world, &dispatch, 0, "job 1").await;
    let attempt = attempt_of(&world, &dispatch, 0).await;
    world.die().await;
    world.faults.fail_all(Operation::Fetch, Failure::Unavailable);
    world.begin().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.stop(Duration::ZERO).await;
    world.faults.mend();
    world.begin().await;
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [COMPLETED; 2]);
    assert_eq!(record.nodes[0].state.attempt, Some(attempt));
    assert_eq!((world.far().attached().len(), world.far().log().len()), (1, 0));
}

/// A server that drains lets end what it took up, and lets nothing else begin.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drains_waits_for_what_it_took_up() {
    let mut world = World::with_far(1, Options::default()).await;
    let dispatch = world.dispatch(&flow_of(accepted("job 1", &json!({"return": 5})))).await;
    until_job(&world, &dispatch, 0, "job 1").await;
    world.crash().await;
    world.far().until(|far| far.running() == 1).await;
    world.life().service.drain();
    world.gates.open("g");
    world.life().service.idle().await;
    world.until(&dispatch, |record| record.nodes[0].state.status == COMPLETED).await;
    assert_eq!(world.executor().log(), []);
    world.stop(Duration::from_secs(10)).await;
    world.begin().await;
    assert_eq!(statuses(&world.end(&dispatch).await), [COMPLETED; 2]);
    assert_eq!((world.far().attached().len(), world.far().log().len()), (0, 0));
}

/// A sublattice whose first attempt links a sub-dispatch and fails. The second goes on outside, and
/// what it leaves counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_builder_that_goes_on_is_not_given_the_link_of_an_earlier_attempt() {
    let mut world = World::with_far(1, Options::default()).await;
    let archive = json!({"return": lattice(&[json!({"return": 4}), json!({})])});
    let gated = json!({"gate": "link", "then": {"fail": "after linking"}});
    let tries = json!({"tries": [gated, accepted("job 2", &archive)]});
    let mut flow = Flow::new();
    let builder = flow.task_of(NodeKind::Sublattice, tries, &[]);
    flow.on(builder, "far", json!({"retries": 3}));
    let dispatch = world.dispatch(&flow).await;
    world.until(&dispatch, |record| record.nodes[0].state.status == Status::Running).await;
    let stale = world.register(&built(&[json!({"return": 6})])).await;
    world.handle().link(&dispatch, NodeId(0), &stale).await.unwrap();
    world.gates.open("link");
    until_job(&world, &dispatch, 0, "job 2").await;
    world.crash().await;
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [COMPLETED]);
    assert_eq!(world.output(&dispatch, 0).await, "5");
    assert_ne!(record.nodes[0].sub_dispatch, Some(stale.clone()));
    assert_eq!((world.far().attached().len(), world.far().log().len()), (1, 0));
    assert_eq!(world.executor().runs(&stale, 0), 0);
}

/// What the attempt linked that goes on is its sub-dispatch.
#[tokio::test(flavor = "multi_thread")]
async fn a_builder_that_goes_on_keeps_what_it_linked() {
    for lost in [false, true] {
        let mut world = World::with_far(1, Options::default()).await;
        let archive = json!({"return": lattice(&[json!({"return": 4}), json!({})])});
        let mut flow = Flow::new();
        let builder = flow.task_of(NodeKind::Sublattice, accepted("job 1", &archive), &[]);
        flow.on(builder, "far", json!({}));
        let dispatch = world.dispatch(&flow).await;
        until_job(&world, &dispatch, 0, "job 1").await;
        let child = world.register(&built(&[json!({"return": 6}), json!({})])).await;
        world.handle().link(&dispatch, NodeId(0), &child).await.unwrap();
        world.die().await;
        if lost {
            world.outside.lose("job 1");
        }
        world.gates.open("g");
        world.begin().await;
        let record = world.end(&dispatch).await;
        assert_eq!(statuses(&record), [COMPLETED]);
        assert_eq!(world.far().attached().len(), 1);
        if lost {
            world.until(&child, |record| record.nodes[0].state.cancel_requested).await;
            assert_eq!(world.executor().runs(&child, 0), 0);
            assert_eq!(world.output(&dispatch, 0).await, "5");
        } else {
            assert_eq!(record.nodes[0].sub_dispatch, Some(child));
            assert_eq!(world.output(&dispatch, 0).await, "7");
            assert_eq!(world.far().log(), []);
        }
    }
}
