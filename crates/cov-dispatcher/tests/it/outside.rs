//! Attempts that an engine outside goes on with while the server is away: found again by what the
//! engine calls them, never run twice, and told off like any other.

mod crashes;
mod faults;

use std::time::Duration;

use cov_core::asset::AssetKey;
use cov_core::error::Fault;
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::status::Status;
use cov_dispatcher::Options;
use cov_engine::event::OnRestart;
use cov_exec::HANDLE_BYTES_MAX;
use serde_json::{Value, json};

use crate::support::{Flow, World, of_node, statuses};

const CANCELLED: Status = Status::Cancelled;
const COMPLETED: Status = Status::Completed;

fn failing() -> Options {
    Options { on_restart: OnRestart::Fail, ..Options::default() }
}

/// A task that an engine outside has as `handle` until the gate `g` opens, and does `then`.
fn accepted(handle: impl Into<Value>, then: &Value) -> Value {
    json!({"accept": handle.into(), "then": {"gate": "g", "then": then}})
}

/// One task outside, and one here that needs it.
fn flow_of(script: Value) -> Flow {
    let mut flow = Flow::new();
    let far = flow.task(script, &[]);
    flow.on(far, "far", json!({"retries": 1, "partition": "night"}));
    flow.task(json!({}), &[far]);
    flow
}

/// Waits until it is stored that an engine calls the node so.
pub(crate) async fn until_job(world: &World, dispatch: &DispatchId, node: u32, handle: &str) {
    loop {
        let committed = world.tap().committed.notified();
        if world.text(dispatch, of_node(node, AssetKey::Job)).await.contains(handle) {
            return;
        }
        committed.await;
    }
}

async fn attempt_of(world: &World, dispatch: &DispatchId, node: u32) -> AttemptId {
    world.record(dispatch).await.nodes[node as usize].state.attempt.unwrap()
}

/// Everything is over, and every slot is free.
fn check_idle(world: &World) {
    let load = world.handle().load();
    assert_eq!((load.queued, load.running), (0, 0));
    assert_eq!((world.executor().running(), world.far().running()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_outside_is_taken_up_and_not_run_again() {
    for options in [Options::default(), failing()] {
        let mut world = World::with_far(1, options).await;
        let dispatch = world.dispatch(&flow_of(accepted("job 1", &json!({"return": 5})))).await;
        until_job(&world, &dispatch, 0, "job 1").await;
        let attempt = attempt_of(&world, &dispatch, 0).await;
        world.crash().await;
        world.far().until(|far| far.running() == 1).await;
        let [job] = &world.far().attached()[..] else { panic!("one job goes on") };
        assert_eq!((job.attempt, &*job.handle), (attempt, "job 1"));
        assert_eq!((&job.dispatch, job.node), (&dispatch, NodeId(0)));
        assert_eq!(job.engine.name, "far");
        assert_eq!(job.engine.attribute("partition"), Some(&json!("night")));
        assert_eq!(world.handle().load().running, 1);
        world.gates.open("g");
        let record = world.end(&dispatch).await;
        assert_eq!(statuses(&record), [COMPLETED; 2]);
        assert_eq!(record.nodes[0].state.attempt, Some(attempt));
        assert_eq!(world.output(&dispatch, 0).await, "5");
        assert_eq!(world.output(&dispatch, 1).await, "6");
        assert_eq!(world.far().log(), []);
        check_idle(&world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_while_the_server_was_away_counts() {
    let mut world = World::with_far(1, failing()).await;
    let fails = accepted("job 1", &json!({"fail": "no such file", "fault": "executor"}));
    let works = accepted("job 2", &json!({"return": 1}));
    let mut flow = Flow::new();
    for (name, script) in [("far", fails), ("near", works)] {
        let node = flow.task(script, &[]);
        flow.on(node, name, json!({}));
    }
    let dispatch = world.dispatch(&flow).await;
    until_job(&world, &dispatch, 0, "job 1").await;
    until_job(&world, &dispatch, 1, "job 2").await;
    world.die().await;
    world.gates.open("g");
    world.begin().await;
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [Status::Failed, COMPLETED]);
    assert_eq!(record.nodes[0].state.fault, Some(Fault::Executor));
    assert_eq!(world.error(&dispatch, 0).await, "no such file");
    assert_eq!(world.finder().made().iter().map(|far| far.log().len()).sum::<usize>(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_die_again_and_again() {
    let mut world = World::with_far(1, failing()).await;
    let dispatch = world.dispatch(&flow_of(accepted("job 1", &json!({"return": 5})))).await;
    until_job(&world, &dispatch, 0, "job 1").await;
    let attempt = attempt_of(&world, &dispatch, 0).await;
    for _ in 0..3 {
        world.crash().await;
        world.far().until(|far| far.running() == 1).await;
        assert_eq!(world.far().attached()[0].attempt, attempt);
    }
    // It may also be stopped in order.
    let (_, _) = world.stop(Duration::ZERO).await;
    world.begin().await;
    world.gates.open("g");
    assert_eq!(statuses(&world.end(&dispatch).await), [COMPLETED; 2]);
    assert_eq!(world.far().log(), []);
    assert_eq!(world.far().kills(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_handle_counts() {
    let mut world = World::with_far(1, failing()).await;
    let second = accepted("second", &json!({"return": 5}));
    let dispatch = world.dispatch(&flow_of(json!({"accept": "first", "then": second}))).await;
    until_job(&world, &dispatch, 0, "second").await;
    world.crash().await;
    world.far().until(|far| far.running() == 1).await;
    assert_eq!(&*world.far().attached()[0].handle, "second");
    world.gates.open("g");
    assert_eq!(statuses(&world.end(&dispatch).await), [COMPLETED; 2]);
}

/// The next attempt may not be taken for the one before, which has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_handle_of_an_earlier_attempt_finds_nothing() {
    for options in [Options::default(), failing()] {
        let fails = options.on_restart == OnRestart::Fail;
        let mut world = World::with_far(1, options).await;
        let first = json!({"accept": "job 1", "then": {"fail": "once"}});
        let second = json!({"gate": "g", "then": {"return": 5}});
        let dispatch = world.dispatch(&flow_of(json!({"tries": [first, second]}))).await;
        world.far().until_runs(&dispatch, 0, 2).await;
        let second = world.far().log()[1].attempt;
        let is_second = |record: &cov_dispatcher::store::model::DispatchRecord| {
            let state = record.nodes[0].state;
            state.status == Status::Running && state.attempt == Some(second)
        };
        world.until(&dispatch, is_second).await;
        world.die().await;
        world.gates.open("g");
        world.begin().await;
        let record = world.end(&dispatch).await;
        assert_eq!(world.far().attached().len(), 0);
        if fails {
            assert_eq!(statuses(&record), [Status::Failed, Status::NewObject]);
            assert_eq!(record.nodes[0].state.fault, Some(Fault::Lost));
            let error = world.error(&dispatch, 0).await;
            assert!(error.contains("lost"), "{error}");
        } else {
            // The first script of this life fails once more.
            assert_eq!(record.nodes[0].state.fault, Some(Fault::Task));
            assert_eq!(world.far().runs(&dispatch, 0), 1);
        }
        check_idle(&world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_found_again_is_run_again_or_fails() {
    for is_told_at_once in [true, false] {
        for options in [Options::default(), failing()] {
            let fails = options.on_restart == OnRestart::Fail;
            let mut world = World::with_far(1, options).await;
            let dispatch = world.dispatch(&flow_of(accepted("job 1", &json!({"return": 5})))).await;
            until_job(&world, &dispatch, 0, "job 1").await;
            world.die().await;
            match is_told_at_once {
                true => world.outside.forget("job 1"),
                false => world.outside.lose("job 1"),
            }
            world.begin().await;
            world.gates.open("g");
            let record = world.end(&dispatch).await;
            assert_eq!(world.far().attached().len(), 1);
            if fails {
                assert_eq!(statuses(&record), [Status::Failed, Status::NewObject]);
                assert_eq!(record.nodes[0].state.fault, Some(Fault::Lost));
                assert_eq!(world.far().log(), []);
                let error = world.error(&dispatch, 0).await;
                assert!(error.contains("lost"), "{error}");
            } else {
                assert_eq!(statuses(&record), [COMPLETED; 2]);
                assert_eq!(record.nodes[0].state.failed_attempts, 0);
                assert_eq!(world.far().runs(&dispatch, 0), 1);
            }
            check_idle(&world);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_while_the_server_runs_is_run_again_or_fails() {
    for options in [Options::default(), failing()] {
        let fails = options.on_restart == OnRestart::Fail;
        let world = World::with_far(1, options).await;
        let lost = json!({"accept": "job 1", "then": {"lost": true}});
        let dispatch = world.dispatch(&flow_of(json!({"tries": [lost, {"return": 5}]}))).await;
        let record = world.end(&dispatch).await;
        if fails {
            assert_eq!(statuses(&record), [Status::Failed, Status::NewObject]);
            assert_eq!(record.nodes[0].state.fault, Some(Fault::Lost));
            let error = world.error(&dispatch, 0).await;
            assert!(error.contains("lost"), "{error}");
        } else {
            assert_eq!(statuses(&record), [COMPLETED; 2]);
            assert_eq!(world.far().runs(&dispatch, 0), 2);
        }
        check_idle(&world);
    }
}

/// The server's own pool ends with the server: what is not found again is none of its tasks.
#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_pool_takes_nothing_up() {
    let mut world = World::with_far(1, Options::default()).await;
    let dispatch = world.dispatch(&Flow::fan(1, &accepted("job 1", &json!({"return": 5})))).await;
    until_job(&world, &dispatch, 0, "job 1").await;
    world.crash().await;
    world.gates.open("g");
    assert_eq!(statuses(&world.end(&dispatch).await), [COMPLETED]);
    assert_eq!(world.executor().attached().len(), 0);
    assert_eq!(world.executor().runs(&dispatch, 0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_handles_are_kept_up_to_a_limit() {
    for (length, is_kept) in [(HANDLE_BYTES_MAX, true), (HANDLE_BYTES_MAX + 1, false)] {
        let mut world = World::with_far(1, Options::default()).await;
        // The second handle shows that the first has been dealt with.
        let mut flow = flow_of(accepted(length, &json!({"return": 5})));
        let other = flow.task(accepted("job 2", &json!({"return": 7})), &[]);
        flow.on(other, "near", json!({}));
        let dispatch = world.dispatch(&flow).await;
        world.until(&dispatch, |record| record.nodes[0].state.status == Status::Running).await;
        world.far().until(|far| far.running() == 1).await;
        if is_kept {
            until_job(&world, &dispatch, 0, &"x".repeat(length)).await;
        }
        until_job(&world, &dispatch, other, "job 2").await;
        let (handles, address) = (world.handle(), of_node(0, AssetKey::Job));
        let stored = handles.read_asset(&dispatch, address).await.unwrap();
        assert_eq!(stored.is_some(), is_kept);
        world.crash().await;
        world.gates.open("g");
        let record = world.end(&dispatch).await;
        assert_eq!(statuses(&record), [COMPLETED; 3]);
        let handles: Vec<usize> =
            world.far().attached().iter().map(|job| job.handle.len()).collect();
        assert_eq!(handles, if is_kept { vec![length] } else { vec![] });
        assert_eq!(world.far().log().len(), usize::from(!is_kept));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_before_the_death_kills_what_goes_on() {
    let mut world = World::with_far(1, Options::default()).await;
    let script = json!({"accept": "job 1", "then": {"gate": "g", "deaf": true, "then": {
        "gate": "never", "then": {}}}});
    let dispatch = world.dispatch(&flow_of(script)).await;
    until_job(&world, &dispatch, 0, "job 1").await;
    let attempt = attempt_of(&world, &dispatch, 0).await;
    world.handle().cancel(&dispatch, &[]).await.unwrap();
    world.crash().await;
    world.far().until(|far| far.kills() == [attempt]).await;
    assert_eq!(statuses(&world.record(&dispatch).await)[0], Status::Running, "it is not dead");
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [CANCELLED, Status::NewObject]);
    assert_eq!((world.far().attached().len(), world.far().log().len()), (1, 0));
    check_idle(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_while_it_is_taken_up_waits_for_that() {
    for opens in [true, false] {
        let mut world = World::with_far(1, Options::default()).await;
        let dispatch = world.dispatch(&flow_of(accepted("job 1", &json!({"return": 5})))).await;
        until_job(&world, &dispatch, 0, "job 1").await;
        let attempt = attempt_of(&world, &dispatch, 0).await;
        world.die().await;
        world.gates.close("attach");
        world.begin().await;
        world.handle().cancel(&dispatch, &[]).await.unwrap();
        assert_eq!(statuses(&world.record(&dispatch).await)[0], Status::Running);
        assert_eq!(world.far().kills(), []);
        if !opens {
            world.outside.forget("job 1");
        }
        world.gates.open("attach");
        let record = world.end(&dispatch).await;
        assert_eq!(statuses(&record), [CANCELLED, Status::NewObject]);
        assert_eq!(world.far().kills(), if opens { vec![attempt] } else { vec![] });
        assert_eq!(world.far().log(), []);
        check_idle(&world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_after_it_was_taken_up_kills_it() {
    let mut world = World::with_far(1, Options::default()).await;
    let dispatch = world.dispatch(&flow_of(accepted("job 1", &json!({"return": 5})))).await;
    until_job(&world, &dispatch, 0, "job 1").await;
    world.crash().await;
    world.far().until(|far| far.running() == 1).await;
    world.handle().cancel(&dispatch, &[NodeId(0)]).await.unwrap();
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [CANCELLED, Status::NewObject]);
    assert_eq!(world.far().kills().len(), 1);
    check_idle(&world);
}

/// A redispatch runs tasks of its own: it takes over no job.
#[tokio::test(flavor = "multi_thread")]
async fn a_redispatch_takes_over_no_job() {
    let world = World::with_far(2, Options::default()).await;
    let mut flow = flow_of(accepted("job 1", &json!({"return": 5})));
    let bad = flow.task(json!({"fail": "no"}), &[0]);
    flow.on(bad, "far", json!({}));
    let dispatch = world.dispatch(&flow).await;
    until_job(&world, &dispatch, 0, "job 1").await;
    world.gates.open("g");
    world.end(&dispatch).await;
    for reuse in [true, false] {
        let again = world.handle().redispatch(&dispatch, flow.manifest.clone(), reuse).await;
        let again = again.unwrap().dispatch;
        let job = world.handle().read_asset(&again, of_node(0, AssetKey::Job)).await.unwrap();
        assert!(job.is_none(), "{job:?}");
        let manifest = world.handle().manifest(&dispatch).await.unwrap();
        assert!(manifest.assets.iter().all(|asset| asset.address.key != AssetKey::Job));
    }
}
