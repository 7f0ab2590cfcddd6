//! A store that is full, away or refuses: nothing that was acknowledged is lost, callers are
//! told, and everything goes on when the fault ends.

use std::time::Duration;

use cov_core::error::{ErrorCode, Fault};
use cov_core::graph::NodeKind;
use cov_core::status::Status;
use cov_dispatcher::Error;
use cov_store::faulty::{Failure, Operation};
use serde_json::json;

use crate::support::{Flow, World, lattice, statuses};

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_told_what_is_wrong_with_the_store() {
    let world = World::new().await;
    let flow = Flow::chain(1);
    let dispatch = world.handle().register(flow.manifest.clone()).await.unwrap().dispatch;
    let (address, bytes) = flow.bytes[0].clone();
    for failure in [Failure::Full, Failure::Unavailable] {
        let expected = match failure {
            Failure::Full => ErrorCode::StorageFull,
            Failure::Unavailable => ErrorCode::StoreUnavailable,
        };
        let is_it = |error: &Error| error.code() == expected;
        world.faults.fail_all(Operation::Commit, failure);
        let refused = world.handle().register(flow.manifest.clone()).await.unwrap_err();
        assert!(is_it(&refused), "{refused:?}");
        let refused = world.upload(&dispatch, address, bytes.clone()).await.unwrap_err();
        assert!(is_it(&refused), "{refused:?}");
        world.faults.mend();
        world.faults.fail_all(Operation::Read, failure);
        let refused = world.handle().start(&dispatch).await.unwrap_err();
        assert!(is_it(&refused), "{refused:?}");
        let refused = world.handle().cancel(&dispatch, &[]).await.unwrap_err();
        assert!(is_it(&refused), "{refused:?}");
        world.faults.mend();
    }
    world.upload(&dispatch, address, bytes).await.unwrap();
    world.handle().start(&dispatch).await.unwrap();
    assert_eq!(world.end(&dispatch).await.summary.status, Status::Completed);
}

/// A commit that fails at any moment is made up for.
#[tokio::test(flavor = "multi_thread")]
async fn dispatches_outlast_any_failed_commit() {
    for nth in 1..=8 {
        for failure in [Failure::Full, Failure::Unavailable] {
            let world = World::new().await;
            let mut flow = Flow::chain(3);
            let inner = json!({"return": lattice(&[json!({"return": 7}), json!({})])});
            flow.task_of(NodeKind::Sublattice, inner, &[2]);
            let dispatch = world.register(&flow).await;
            for more in 0..3 {
                world.faults.fail_nth(Operation::Commit, nth + more, failure);
            }
            while let Err(error) = world.handle().start(&dispatch).await {
                assert!(matches!(error, Error::Store(_)), "{error:?}");
            }
            let record = world.end(&dispatch).await;
            assert_eq!(statuses(&record), [Status::Completed; 4], "{nth} {failure:?}");
            assert_eq!(world.output(&dispatch, 3).await, "8");
            let log = world.executor().log();
            assert_eq!(log.len(), 6, "something ran twice: {log:?}");
        }
    }
}

/// What waits for the store is tried again although others keep asking.
#[tokio::test(start_paused = true)]
async fn steps_are_stored_soon_after_the_fault_ends_whatever_others_do() {
    let world = World::in_memory(2).await;
    let dispatch = world.dispatch(&Flow::fan(2, &json!({"gate": "g", "then": {}}))).await;
    world.executor().until(|executor| executor.running() == 2).await;
    world.faults.fail_all(Operation::Commit, Failure::Unavailable);
    world.gates.open("g");
    world.executor().until(|executor| executor.running() == 0).await;
    let handle = world.handle().clone();
    let noise = tokio::spawn(async move {
        loop {
            drop(handle.register(Flow::chain(1).manifest).await);
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    });
    let (handle, waiting) = (world.handle().clone(), dispatch.clone());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.record(&waiting).await.summary.status, Status::Running);
    world.faults.mend();
    let begin = tokio::time::Instant::now();
    handle.wait_for_end(&waiting, Duration::from_secs(600)).await;
    assert!(begin.elapsed() <= Duration::from_secs(6), "{:?}", begin.elapsed());
    noise.abort();
    assert_eq!(world.end(&dispatch).await.summary.status, Status::Completed);
}

/// What is in memory is ahead of a store that refuses a step: it is read again.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_step_is_forgotten_and_the_dispatch_loaded_again() {
    let world = World::new().await;
    let mut flow = Flow::fan(2, &json!({"tries": [{"gate": "g", "then": {}}, {}]}));
    flow.task(json!({}), &[0, 1]);
    let dispatch = world.dispatch(&flow).await;
    let both = [Status::Running, Status::Running, Status::NewObject];
    world.until(&dispatch, |record| statuses(record) == both).await;
    world.tap().refuse_next();
    let answer = world.handle().cancel(&dispatch, &[cov_core::ids::NodeId(2)]).await;
    assert!(matches!(answer, Err(Error::Overloaded)), "{answer:?}");
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [Status::Completed; 3]);
    // The old attempts were killed, their slots are free, and what they said was ignored.
    assert_eq!(world.executor().log().len(), 5);
    assert_eq!(world.executor().kills().len(), 2);
    assert_eq!(world.executor().running(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_keeps_refusing_ends_the_owner_and_nobody_hangs() {
    let world = World::with_slots(1).await;
    let dispatch = world.dispatch(&Flow::fan(3, &json!({"hang": true}))).await;
    world.executor().until(|executor| executor.running() == 1).await;
    let beside = world.dispatch(&Flow::fan(3, &json!({}))).await;
    world.tap().refuse_all_of(&dispatch);
    let refused = world.handle().cancel(&dispatch, &[]).await;
    assert!(refused.is_err(), "{refused:?}");
    // Its queued work does not keep the only slot.
    assert_eq!(world.end(&beside).await.summary.status, Status::Completed);
    world.tap().refuse_nothing();
    world.handle().cancel(&dispatch, &[]).await.unwrap();
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [Status::Cancelled; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dispatches_are_resumed_though_the_store_is_away_for_a_moment() {
    let mut world = World::new().await;
    let dispatch = world.dispatch(&Flow::fan(2, &json!({"gate": "g", "then": {}}))).await;
    world.executor().until(|executor| executor.running() == 2).await;
    world.die().await;
    // The first read lists what is unfinished.
    for nth in 2..5 {
        world.faults.fail_nth(Operation::Read, nth, Failure::Unavailable);
    }
    world.begin().await;
    world.executor().until(|executor| executor.running() == 2).await;
    world.gates.open("g");
    assert_eq!(world.end(&dispatch).await.summary.status, Status::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_task_waits_for_inputs_that_cannot_be_read_now() {
    let world = World::in_memory(1).await;
    world.faults.fail_nth(Operation::Fetch, 1, Failure::Unavailable);
    world.faults.fail_nth(Operation::Fetch, 2, Failure::Full);
    let record = world.run(&Flow::chain(2)).await;
    assert_eq!(statuses(&record), [Status::Completed; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_cannot_be_stored_fails_its_task() {
    let world = World::new().await;
    let mut flow = Flow::new();
    let missing = world.tap().spool_file("nowhere");
    let lost = flow.task(json!({"file": missing}), &[]);
    flow.task(json!({}), &[lost]);
    let record = world.run(&flow).await;
    assert_eq!(statuses(&record), [Status::Failed, Status::NewObject]);
    assert_eq!(record.nodes[0].state.fault, Some(Fault::Server));
    let error = world.error(&record.summary.dispatch_id, lost).await;
    assert!(error.contains("could not be stored"), "{error}");
}

/// A broken invariant panics; the dispatch is loaded again and nothing else notices.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_an_owner_harms_nobody() {
    let world = World::new().await;
    let script = json!({"tries": [{"gate": "g", "then": {}}, {}]});
    let dispatch = world.dispatch(&Flow::fan(4, &script)).await;
    let running = [Status::Running, Status::Running, Status::NewObject, Status::NewObject];
    world.until(&dispatch, |record| statuses(record) == running).await;
    world.clock.break_once();
    let answer = world.handle().cancel(&dispatch, &[cov_core::ids::NodeId(3)]).await;
    // It was told to nobody, so it is asked again.
    assert!(matches!(answer, Ok(_) | Err(Error::Overloaded)), "{answer:?}");
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record)[..3], [Status::Completed; 3]);
    assert_eq!(world.executor().running(), 0);
    let record = world.run(&Flow::fan(4, &json!({}))).await;
    assert_eq!(record.summary.status, Status::Completed);
}
