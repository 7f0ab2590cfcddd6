//! Dispatches share the slots fairly.

use cov_core::graph::NodeKind;
use cov_core::ids::DispatchId;
use serde_json::json;

use crate::support::{Flow, World, lattice};

/// How many tasks were submitted before the first of `dispatch`.
fn started_before(world: &World, dispatch: &DispatchId) -> usize {
    let log = world.executor().log();
    log.iter().position(|ran| ran.dispatch == *dispatch).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_electron_waits_for_one_turn_behind_a_fan() {
    for slots in [1, 4] {
        let world = World::with_slots(slots).await;
        let mut fan = Flow::new();
        for index in 0..1_000 {
            fan.task(json!({"gate": format!("g{index}"), "then": {}}), &[]);
        }
        let fan = world.dispatch(&fan).await;
        world.executor().until(|executor| executor.running() == slots).await;
        let single = world.dispatch(&Flow::chain(1)).await;
        // Ends one task after the other, and waits for what begins in its place.
        let mut starts = 0;
        while world.executor().runs(&single, 0) == 0 {
            let ran = world.executor().log();
            let next = ran.iter().filter(|ran| ran.dispatch == fan).nth(starts).unwrap().node;
            world.gates.open(&format!("g{next}"));
            world.executor().until(|executor| executor.log().len() > ran.len()).await;
            starts += 1;
        }
        assert!(starts <= 2 * slots, "{starts} tasks began first, with {slots} slots");
        assert_eq!(world.end(&single).await.summary.completed_node_count, 1);
        world.handle().cancel(&fan, &[]).await.unwrap();
        world.end(&fan).await;
    }
}

/// A dispatch does not get more by cutting itself into sub-dispatches.
#[tokio::test(flavor = "multi_thread")]
async fn sub_dispatches_share_the_turn_of_their_root() {
    let world = World::with_slots(1).await;
    let mut greedy = Flow::new();
    for _ in 0..4 {
        let script = json!({"return": lattice(&vec![json!({"gate": "g", "then": {}}); 4])});
        greedy.task_of(NodeKind::Sublattice, script, &[]);
    }
    let greedy = world.dispatch(&greedy).await;
    // The four builders, and the first task of the first sub-dispatch.
    world.executor().until(|executor| executor.log().len() == 5).await;
    let children = |record: &cov_dispatcher::store::model::DispatchRecord| {
        record.nodes.iter().filter(|node| node.sub_dispatch.is_some()).count()
    };
    world.until(&greedy, |record| children(record) == 4).await;
    let modest = world.dispatch(&Flow::chain(1)).await;
    world.gates.open("g");
    world.end(&modest).await;
    let before = started_before(&world, &modest);
    assert!(before <= 7, "{before} tasks came first");
    world.end(&greedy).await;
}
