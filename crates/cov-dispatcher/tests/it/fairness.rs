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
        let script = json!({"gate": "g", "then": {}});
        let fan = world.dispatch(&Flow::fan(1_000, &script)).await;
        world.executor().until(|executor| executor.running() == slots).await;
        let single = world.dispatch(&Flow::chain(1)).await;
        world.gates.open("g");
        world.end(&single).await;
        let before = started_before(&world, &single);
        assert!(before <= 2 * slots, "{before} tasks came first, with {slots} slots");
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
