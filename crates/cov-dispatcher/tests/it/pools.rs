//! Each executor that is found has slots of its own, in which dispatches take turns.

use cov_core::ids::DispatchId;
use cov_core::status::Status;
use cov_dispatcher::Options;
use serde_json::json;

use crate::support::{Flow, World, statuses};

/// Names beyond so many share a pool.
const POOLS_MAX: usize = 64;

fn fan_on(name: &str, width: u32) -> Flow {
    let mut flow = Flow::new();
    for index in 0..width {
        let node = flow.task(json!({"gate": format!("{name} {index}"), "then": {}}), &[]);
        flow.on(node, name, json!({}));
    }
    flow
}

async fn cancel(world: &World, dispatch: &DispatchId) {
    world.handle().cancel(dispatch, &[]).await.unwrap();
    assert_eq!(world.end(dispatch).await.summary.status, Status::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_executor_does_not_hold_up_another() {
    let world = World::with_far(3, Options::default()).await;
    let far = world.dispatch(&fan_on("far", 10)).await;
    let near = world.dispatch(&fan_on("near", 10)).await;
    let here = world.dispatch(&Flow::fan(10, &json!({"hang": true}))).await;
    for name in ["far", "near"] {
        world.finder().scripted(name).until(|executor| executor.running() == 3).await;
    }
    world.executor().until(|executor| executor.running() == 2).await;
    let load = world.handle().load();
    assert_eq!((load.running, load.queued, load.slots), (8, 22, 8));
    assert_eq!(world.far().most(), 3);
    for dispatch in [far, near, here] {
        cancel(&world, &dispatch).await;
    }
    let load = world.handle().load();
    assert_eq!((load.running, load.queued), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn dispatches_take_turns_within_a_pool() {
    for slots in [1, 4] {
        let world = World::with_far(slots, Options::default()).await;
        let fan = world.dispatch(&fan_on("far", 200)).await;
        world.far().until(|far| far.running() == slots).await;
        let mut single = Flow::chain(1);
        single.on(0, "far", json!({}));
        let single = world.dispatch(&single).await;
        let mut starts = 0;
        while world.far().runs(&single, 0) == 0 {
            let ran = world.far().log();
            let next = ran.iter().filter(|ran| ran.dispatch == fan).nth(starts).unwrap().node;
            world.gates.open(&format!("far {next}"));
            world.far().until(|far| far.log().len() > ran.len()).await;
            starts += 1;
        }
        assert!(starts <= 2 * slots, "{starts} tasks began first, with {slots} slots");
        assert_eq!(statuses(&world.end(&single).await), [Status::Completed]);
        cancel(&world, &fan).await;
    }
}

/// What goes on from before has a slot each; new work waits until there are fewer than slots.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_up_counts_in_its_pool() {
    let mut world = World::with_far(2, Options::default()).await;
    let mut flow = Flow::new();
    for index in 0..2 {
        let gate = json!({"gate": format!("old {index}"), "then": {}});
        let node = flow.task(json!({"accept": format!("job {index}"), "then": gate}), &[]);
        flow.on(node, "far", json!({}));
    }
    let old = world.dispatch(&flow).await;
    for node in 0..2 {
        super::outside::until_job(&world, &old, node, &format!("job {node}")).await;
    }
    world.crash().await;
    world.far().until(|far| far.running() == 2).await;
    let new = world.dispatch(&fan_on("far", 1)).await;
    world.gates.open("far 0");
    // Something else goes by; the two have all slots of their pool.
    assert_eq!(statuses(&world.end(&world.dispatch(&Flow::chain(2)).await).await).len(), 2);
    assert_eq!(world.far().runs(&new, 0), 0);
    assert_eq!(world.handle().load().queued, 1);
    world.gates.open("old 1");
    assert_eq!(statuses(&world.end(&new).await), [Status::Completed]);
    world.gates.open("old 0");
    assert_eq!(statuses(&world.end(&old).await), [Status::Completed; 2]);
}

/// Somebody makes up names. Each of the first has a pool, the rest share one; all tasks run.
#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_names_is_served() {
    let mut world = World::with_far(1, Options::default()).await;
    let count = POOLS_MAX + 20;
    let mut flow = Flow::new();
    for index in 0..count {
        let script = json!({"accept": format!("job {index}"), "then": {"gate": "g", "then": {}}});
        let node = flow.task(script, &[]);
        flow.on(node, &format!("made up {index}"), json!({}));
    }
    let dispatch = world.dispatch(&flow).await;
    for executor in 0..POOLS_MAX {
        let executor = world.finder().scripted(&format!("made up {executor}"));
        executor.until(|executor| executor.running() == 1).await;
    }
    assert_eq!(world.finder().made().len(), POOLS_MAX);
    let load = world.handle().load();
    assert_eq!((load.running, load.queued), (POOLS_MAX, 20));
    for node in 0..u32::try_from(POOLS_MAX).unwrap() {
        super::outside::until_job(&world, &dispatch, node, &format!("job {node}")).await;
    }
    world.crash().await;
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert!(statuses(&record).iter().all(|status| *status == Status::Completed));
    let made = world.finder().made();
    assert_eq!(made.len(), POOLS_MAX);
    let attached: usize = made.iter().map(|executor| executor.attached().len()).sum();
    let ran: usize = made.iter().map(|executor| executor.log().len()).sum();
    assert_eq!((attached, ran), (POOLS_MAX, 20));
    let load = world.handle().load();
    assert_eq!((load.running, load.queued), (0, 0));
}
