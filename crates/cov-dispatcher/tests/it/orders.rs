//! Workflows that come whole: stored and started in one step, or not at all.

use cov_core::ids::DispatchId;
use cov_core::manifest::document::{Parts, Source};
use cov_core::status::Status;
use cov_dispatcher::{Error, Order, Taken};
use serde_json::json;

use crate::recovery::{check_mixed, mixed};
use crate::support::{Flow, World, statuses};

const ID: &str = "0b0e5a50-7a3f-4d6c-9c1f-3f1f6c1d2e4b";

/// The flow under an id of its own, so that it may be sent again.
fn named(mut flow: Flow) -> Flow {
    flow.manifest.dispatch_id = Some(ID.parse().unwrap());
    flow
}

async fn bring(world: &World, flow: &Flow, source: Source, start: bool) -> Result<Taken, Error> {
    let sources = vec![source.clone(); flow.bytes.len()];
    let parts = Parts { manifest: flow.manifest.clone(), sources };
    let order = Order { parts, redispatch_of: None, outcome: None };
    let mut intake = world.handle().take_in(order).await?;
    if source == Source::Body {
        for (_, bytes) in &flow.bytes {
            intake.write(bytes.clone()).await?;
        }
    }
    intake.finish(start).await
}

/// Brings a whole flow and starts it.
async fn begin(world: &World, flow: &Flow) -> Result<DispatchId, Error> {
    let taken = bring(world, flow, Source::Body, true).await?;
    assert!(taken.registered.uploads.is_empty());
    Ok(taken.registered.dispatch)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_step_registers_and_starts_and_the_first_tasks_are_in_it() {
    let world = World::new().await;
    let flow = Flow::fan(3, &json!({"gate": "g", "then": {"return": 7}}));
    let before = world.tap().commits();
    let taken = bring(&world, &flow, Source::Body, true).await.unwrap();
    assert!(taken.is_new);
    assert_eq!(taken.status, Status::Running);
    assert_eq!(world.tap().commits(), before + 1);
    let dispatch = taken.registered.dispatch;
    let record = world.record(&dispatch).await;
    assert_eq!(record.summary.status, Status::Running);
    let running = statuses(&record).into_iter().filter(|status| *status == Status::Running);
    assert_eq!(running.count(), 2, "as many as there are slots");
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(record.summary.status, Status::Completed);
    for node in 0..3 {
        assert_eq!(world.output(&dispatch, node).await, "7");
        assert_eq!(world.executor().runs(&dispatch, node), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_before_the_step_is_durable() {
    let world = World::new().await;
    let flow = Flow::chain(2);
    let begun = world.tap().begun();
    let held = world.tap().hold().await;
    let (answer, ()) = tokio::join!(begin(&world, &flow), async {
        world.tap().until_another_begins(begun).await;
        // Time enough for a task that would begin too early.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(world.executor().log().is_empty());
        drop(held);
    });
    let record = world.end(&answer.unwrap()).await;
    assert_eq!(record.summary.status, Status::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_not_started_stays_as_it_is() {
    let world = World::new().await;
    let taken = bring(&world, &Flow::chain(1), Source::Body, false).await.unwrap();
    assert_eq!((taken.status, taken.is_new), (Status::NewObject, true));
    let dispatch = taken.registered.dispatch;
    assert_eq!(world.record(&dispatch).await.summary.status, Status::NewObject);
    world.handle().start(&dispatch).await.unwrap();
    assert_eq!(world.end(&dispatch).await.summary.status, Status::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_refused_runs_nothing_and_takes_no_slot() {
    let world = World::with_slots(1).await;
    let first = named(Flow::chain(2));
    let there = world.register(&first).await;
    let refused = begin(&world, &named(Flow::chain(1))).await.unwrap_err();
    assert!(matches!(refused, Error::Exists { .. }), "{refused:?}");
    assert!(world.executor().log().is_empty());
    assert_eq!(world.record(&there).await.summary.status, Status::NewObject);

    world.tap().refuse_next();
    let flow = Flow::chain(3);
    begin(&world, &flow).await.unwrap_err();
    assert!(world.executor().log().is_empty());

    // The slot is free, and what was there can be started.
    assert_eq!(world.run(&flow).await.summary.status, Status::Completed);
    world.handle().start(&there).await.unwrap();
    assert_eq!(world.end(&there).await.summary.status, Status::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_order_makes_one_dispatch_however_often_it_comes() {
    let world = World::new().await;
    let flow = named(Flow::fan(2, &json!({"gate": "g", "then": {"return": 1}})));
    // Its contents do not come along at first.
    let waits = bring(&world, &flow, Source::Elsewhere, true).await.unwrap();
    assert_eq!(waits.status, Status::NewObject);
    assert_eq!(waits.registered.uploads.len(), 1, "each content is asked for once");

    let (one, two) = tokio::join!(begin(&world, &flow), begin(&world, &flow));
    let dispatch = one.unwrap();
    assert_eq!(dispatch, waits.registered.dispatch);
    assert_eq!(dispatch, two.unwrap());
    let again = bring(&world, &flow, Source::Body, true).await.unwrap();
    assert_eq!((again.status, again.is_new), (Status::Running, false));
    world.gates.open("g");
    assert_eq!(world.end(&dispatch).await.summary.status, Status::Completed);
    assert_eq!(begin(&world, &flow).await.unwrap(), dispatch);
    for node in 0..2 {
        assert_eq!(world.executor().runs(&dispatch, node), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_orders_at_once_run_once() {
    let world = World::new().await;
    let flow = named(Flow::chain(2));
    let orders = futures_util::future::join_all((0..8).map(|_| begin(&world, &flow))).await;
    for order in orders {
        assert_eq!(order.unwrap().as_str(), ID);
    }
    let dispatch = ID.parse().unwrap();
    assert_eq!(world.end(&dispatch).await.summary.status, Status::Completed);
    for node in 0..2 {
        assert_eq!(world.executor().runs(&dispatch, node), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_commit_of_an_order_loses_nothing() {
    let flow = named(mixed());
    let mut crashes = 0;
    for commits in 0.. {
        let mut world = World::new().await;
        world.tap().die_after(commits);
        let ended = async {
            let dispatch = begin(&world, &flow).await.unwrap();
            world.end(&dispatch).await;
        };
        tokio::select! {
            () = ended => break,
            () = world.tap().died.notified() => {}
        }
        crashes += 1;
        world.crash().await;
        // Who got no answer sends it again.
        let dispatch = begin(&world, &flow).await.unwrap();
        let record = world.end(&dispatch).await;
        check_mixed(&world, &record, commits).await;
    }
    assert!(crashes >= 5, "only {crashes} commits");
}
