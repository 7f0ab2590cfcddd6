//! What a trigger's firing makes of dispatches: one each, whatever fails or dies in between.

use std::sync::Arc;

use cov_core::error::ErrorKind;
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use cov_core::trigger::{Firing, Outcome, TriggerId, TriggerRecord, TriggerState};
use cov_dispatcher::LocalHost;
use cov_dispatcher::store::model::Query;
use cov_store::faulty::{Failure, Operation};
use cov_triggers::host::Claim;
use cov_triggers::{Error, TriggerHost};
use serde_json::json;

use crate::support::{Flow, World, statuses};

/// Registers a trigger of `dispatch`.
async fn trigger(host: &LocalHost, dispatch: &DispatchId) -> TriggerId {
    let id = host.new_trigger_id();
    host.register(&record(host, &id, dispatch)).await.unwrap();
    id
}

fn record(host: &LocalHost, id: &TriggerId, dispatch: &DispatchId) -> TriggerRecord {
    TriggerRecord {
        id: id.clone(),
        name: "BaseTrigger".to_owned(),
        lattice_dispatch_id: dispatch.clone(),
        settings: serde_json::Map::new(),
        state: TriggerState::Active,
        note: None,
        created_at: host.now(),
        updated_at: host.now(),
        decided_until: host.now(),
        trouble: None,
        fired_count: 0,
    }
}

fn claim(host: &LocalHost, trigger: &TriggerId, key: &str) -> Claim {
    let now = host.now();
    let firing = Firing {
        event_key: key.to_owned(),
        due_at: now,
        decided_at: now,
        outcome: Outcome::Fired,
        reason: "it was time".to_owned(),
        dispatch: None,
        next_try: None,
        payload: None,
    };
    Claim { trigger: trigger.clone(), firing, marks: Vec::new(), decided_until: now }
}

async fn dispatches(world: &World) -> u64 {
    world.handle().count(&Query::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_firing_starts_the_original_and_the_next_runs_it_again() {
    let world = World::new().await;
    let host = world.host().await;
    let mut flow = Flow::new();
    let first = flow.task(json!({"gate": "g", "then": {"return": 4}}), &[]);
    flow.task(json!({}), &[first]);
    let original = world.register(&flow).await;
    let id = trigger(&host, &original).await;
    let situation = host.situation(&id).await.unwrap();
    assert!(situation.original_pending && !situation.original_running);

    let fired = host.fire(claim(&host, &id, "k1")).await.unwrap();
    assert_eq!(fired, original);
    world.executor().until(|executor| executor.running() == 1).await;
    let situation = host.situation(&id).await.unwrap();
    assert!(situation.original_running && !situation.original_pending);
    // It is not run again before its end, but its own event is answered.
    let refused = host.fire(claim(&host, &id, "k2")).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
    assert_eq!(host.fire(claim(&host, &id, "k1")).await.unwrap(), original);
    world.gates.open("g");
    host.ended(&original).await.unwrap();
    assert_eq!(world.output(&original, 1).await, "5");

    let second = host.fire(claim(&host, &id, "k2")).await.unwrap();
    assert_ne!(second, original);
    let record = world.end(&second).await;
    assert_eq!(statuses(&record), [Status::Completed; 2]);
    assert_eq!(world.output(&second, 1).await, "5");
    assert_eq!(world.executor().runs(&second, first), 1, "nothing is reused");
    assert_eq!(dispatches(&world).await, 2);
    assert_eq!(host.record(&id).await.unwrap().unwrap().fired_count, 2);
    let plan = world.handle().redispatch_plan(&second).await.unwrap();
    assert_eq!(plan.len(), 2);
    assert_eq!(host.situation(&id).await.unwrap().running, []);
}

/// Many claims of few events at once, in few transactions: each event makes one dispatch.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_makes_one_dispatch_however_often_it_is_claimed() {
    let world = World::new().await;
    let host = world.host().await;
    let original = world.dispatch(&Flow::chain(1)).await;
    world.end(&original).await;
    let ids = [trigger(&host, &original).await, trigger(&host, &original).await];
    let commits = world.tap().commits();
    let gate = world.tap().hold().await;
    let mut firings = Vec::new();
    for number in 0..120 {
        let (host, id) = (host.clone(), ids[number % 2].clone());
        let claim = claim(&host, &id, &format!("k{}", number % 40));
        firings.push(tokio::spawn(async move { host.fire(claim).await.unwrap() }));
    }
    drop(gate);
    let mut made = Vec::new();
    for (number, firing) in firings.into_iter().enumerate() {
        made.push((number % 40, firing.await.unwrap()));
    }
    for (key, dispatch) in &made {
        assert!(made.iter().all(|(other, one)| (other == key) == (one == dispatch)));
    }
    assert_eq!(dispatches(&world).await, 41);
    for (_, dispatch) in &made {
        assert_eq!(world.end(dispatch).await.summary.status, Status::Completed);
    }
    assert!(world.tap().commits() - commits < 400, "each claim was a transaction of its own");
}

/// The process dies at each commit that a firing brings about, in both kinds of firing.
#[tokio::test(flavor = "multi_thread")]
async fn a_death_at_any_commit_neither_loses_nor_doubles_a_firing() {
    for pending in [true, false] {
        for commits in 1..=4 {
            let mut world = World::new().await;
            let host = world.host().await;
            let original = world.register(&Flow::chain(1)).await;
            if !pending {
                world.handle().start(&original).await.unwrap();
                world.end(&original).await;
            }
            let id = trigger(&host, &original).await;
            let again = claim(&host, &id, "k");
            world.tap().die_after(commits);
            let tap = Arc::clone(&world.life().tap);
            let to_the_end = async {
                let fired = host.fire(again.clone()).await.unwrap();
                host.ended(&fired).await.unwrap();
            };
            tokio::select! {
                () = to_the_end => {}
                () = tap.died.notified() => {}
            }
            drop((host, tap));
            world.crash().await;
            let host = world.host().await;
            // What was claimed goes on without another firing.
            let firing = host.firing(&id, "k").await.unwrap();
            let fired = firing.expect("the first commit claims the event").dispatch.unwrap();
            host.ended(&fired).await.unwrap();
            assert_eq!(host.fire(again).await.unwrap(), fired);
            assert_eq!(world.record(&fired).await.summary.status, Status::Completed);
            let expected = if pending { 1 } else { 2 };
            assert_eq!(dispatches(&world).await, expected, "pending {pending}, {commits} commits");
        }
    }
}

/// A store that fails at some commit: the firing is told off, or done, and never half.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_commit_neither_loses_nor_doubles_a_firing() {
    for pending in [true, false] {
        for nth in 1..=4 {
            for failure in [Failure::Full, Failure::Unavailable] {
                let world = World::new().await;
                let host = world.host().await;
                let original = world.register(&Flow::chain(1)).await;
                if !pending {
                    world.handle().start(&original).await.unwrap();
                    world.end(&original).await;
                }
                let id = trigger(&host, &original).await;
                world.faults.fail_nth(Operation::Commit, nth, failure);
                let fired = loop {
                    match host.fire(claim(&host, &id, "k")).await {
                        Ok(fired) => break fired,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Unavailable);
                            assert_eq!(host.firing(&id, "k").await.unwrap(), None);
                        }
                    }
                };
                host.ended(&fired).await.unwrap();
                world.faults.mend();
                assert_eq!(host.fire(claim(&host, &id, "k")).await.unwrap(), fired);
                let expected = if pending { 1 } else { 2 };
                assert_eq!(dispatches(&world).await, expected, "{pending} {nth} {failure:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_not_claimed() {
    let world = World::new().await;
    let host = world.host().await;
    let nowhere = "nowhere".parse().unwrap();
    let id = host.new_trigger_id();
    let refused = host.register(&record(&host, &id, &nowhere)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert_eq!(host.record(&id).await.unwrap(), None);

    let flow = Flow::chain(1);
    let original = world.handle().register(flow.manifest.clone()).await.unwrap().dispatch;
    let id = trigger(&host, &original).await;
    assert!(host.has_triggers(&original).await.unwrap());
    let refused = host.fire(claim(&host, &id, "k")).await.unwrap_err();
    assert!(refused.to_string().contains("missing"), "{refused}");
    assert_eq!(host.firing(&id, "k").await.unwrap(), None);
    for (address, bytes) in &flow.bytes {
        world.upload(&original, *address, bytes.clone()).await.unwrap();
    }
    assert_eq!(host.fire(claim(&host, &id, "k")).await.unwrap(), original);

    host.ended(&original).await.unwrap();
    host.set_state(&id, TriggerState::Stopped, None).await.unwrap();
    let refused = host.fire(claim(&host, &id, "k2")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
    assert_eq!(dispatches(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_known_and_can_be_cancelled() {
    let mut world = World::new().await;
    let host = world.host().await;
    let original = world.dispatch(&Flow::fan(1, &json!({"gate": "g", "then": {}}))).await;
    world.gates.open("g");
    world.end(&original).await;
    world.gates.close("g");
    let id = trigger(&host, &original).await;
    let first = host.fire(claim(&host, &id, "k1")).await.unwrap();
    let second = host.fire(claim(&host, &id, "k2")).await.unwrap();
    let running = host.situation(&id).await.unwrap().running;
    assert_eq!(running, [first.clone(), second.clone()]);
    drop(host);
    world.crash().await;
    let host = world.host().await;
    let running = host.situation(&id).await.unwrap().running;
    assert_eq!(running, [first.clone(), second.clone()]);
    host.cancel(&first).await.unwrap();
    host.ended(&first).await.unwrap();
    assert_eq!(world.record(&first).await.summary.status, Status::Cancelled);
    assert_eq!(host.situation(&id).await.unwrap().running, [second]);
}
