//! Electrons that are workflows: taken over from what a task built, or linked by it.

use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::graph::NodeKind;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;
use cov_dispatcher::Error;
use serde_json::{Value, json};

use crate::support::flow::built;
use crate::support::{Flow, World, lattice, of_node, statuses};

/// A sublattice between two tasks.
fn around(script: Value) -> Flow {
    let mut flow = Flow::new();
    let first = flow.task(json!({}), &[]);
    let middle = flow.task_of(NodeKind::Sublattice, script, &[first]);
    flow.task(json!({}), &[middle]);
    flow
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_built_is_taken_over_and_its_result_goes_on() {
    let world = World::new().await;
    let inner = lattice(&[json!({"return": 40}), json!({})]);
    let script = json!({"return": lattice(&[inner, json!({})])});
    let record = world.run(&around(script)).await;
    let dispatch = record.summary.dispatch_id.clone();
    assert_eq!(statuses(&record), [Status::Completed; 3]);
    // 40, one more in the inner, one more in the middle, one more at the end.
    assert_eq!(world.output(&dispatch, 1).await, "42");
    assert_eq!(world.output(&dispatch, 2).await, "43");
    let manifest = world.text(&dispatch, of_node(1, AssetKey::SublatticeManifest)).await;
    assert!(manifest.contains("lattice"));
    let child = record.nodes[1].sub_dispatch.clone().unwrap();
    let child = world.record(&child).await.summary;
    assert_eq!(child.parent_dispatch_id, Some(dispatch.clone()));
    assert_eq!(child.root_dispatch_id, dispatch);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_over_fails_the_node_with_the_reason() {
    let world = World::new().await;
    for (script, reason) in [
        (json!({"return": "no lattice"}), "it is no lattice"),
        (json!({"return": lattice(&[])}), ""),
    ] {
        let record = world.run(&around(script.clone())).await;
        let dispatch = record.summary.dispatch_id.clone();
        if reason.is_empty() {
            // An empty lattice has nothing to do and no result to pass on.
            assert_eq!(record.nodes[1].state.status, Status::Completed);
            continue;
        }
        let expected = [Status::Completed, Status::Failed, Status::NewObject];
        assert_eq!(statuses(&record), expected, "{script}");
        let error = world.error(&dispatch, 1).await;
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sub_dispatch_fails_its_node_and_what_stands_below_waits() {
    let world = World::new().await;
    let script = json!({"return": lattice(&[json!({"fail": "deep"}), json!({})])});
    let record = world.run(&around(script)).await;
    let expected = [Status::Completed, Status::Failed, Status::NewObject];
    assert_eq!(statuses(&record), expected);
    let error = world.error(&record.summary.dispatch_id, 1).await;
    assert_eq!(error, "The following tasks failed:\n0: task 0");
}

/// Registers a sub-dispatch while the task that builds it runs, as the SDK does.
async fn link_while_building(world: &World, script: Value) -> (DispatchId, DispatchId) {
    let dispatch = world.dispatch(&around(script)).await;
    world.executor().until_runs(&dispatch, 1, 1).await;
    world.until(&dispatch, |record| record.nodes[1].state.status == Status::Running).await;
    let child = world.register(&built(&[json!({"return": 6}), json!({})])).await;
    world.handle().link(&dispatch, NodeId(1), &child).await.unwrap();
    let summary = world.record(&child).await.summary;
    assert_eq!((summary.status, &summary.root_dispatch_id), (Status::NewObject, &dispatch));
    (dispatch, child)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_sub_dispatch_starts_when_its_builder_is_done() {
    let world = World::new().await;
    let script = json!({"gate": "g", "then": {"return": "ignored"}});
    let (dispatch, child) = link_while_building(&world, script).await;
    // Saying it twice is no fault.
    world.handle().link(&dispatch, NodeId(1), &child).await.unwrap();
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [Status::Completed; 3]);
    assert_eq!(world.output(&dispatch, 1).await, "7");
    assert_eq!(record.nodes[1].sub_dispatch, Some(child));
}

/// A builder that fails after it linked its sub-dispatch fails its node; the sub-dispatch never
/// runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_builder_that_fails_after_linking_ends_both() {
    let world = World::new().await;
    let script = json!({"gate": "g", "then": {"fail": "after linking"}});
    let (dispatch, child) = link_while_building(&world, script).await;
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    let expected = [Status::Completed, Status::Failed, Status::NewObject];
    assert_eq!(statuses(&record), expected);
    assert_eq!(world.error(&dispatch, 1).await, "after linking");
    world.until(&child, |record| record.nodes.iter().all(|n| n.state.cancel_requested)).await;
    assert_eq!(world.executor().runs(&child, 0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_make_no_sense_are_refused_and_disturb_nothing() {
    let world = World::new().await;
    let script = json!({"gate": "g", "then": {"return": "ignored"}});
    let (dispatch, child) = link_while_building(&world, script).await;
    let other = world.register(&Flow::chain(1)).await;
    let handle = world.handle();
    let unknown: DispatchId = "unknown".parse().unwrap();
    assert!(matches!(
        handle.link(&dispatch, NodeId(1), &unknown).await,
        Err(Error::DispatchNotFound { .. })
    ));
    assert!(matches!(
        handle.link(&dispatch, NodeId(9), &other).await,
        Err(Error::NodeNotFound { .. })
    ));
    // Itself, what stands above, what belongs to another node, a node that builds nothing, a
    // dispatch that does not run.
    for (parent, node, child) in [
        (&dispatch, 1, &dispatch),
        (&child, 0, &dispatch),
        (&dispatch, 0, &child),
        (&dispatch, 2, &other),
        (&other, 0, &unlinked(&world).await),
    ] {
        let refused = handle.link(parent, NodeId(node), child).await;
        assert!(matches!(refused, Err(Error::IllegalState { .. })), "{node} {refused:?}");
    }
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(record.summary.status, Status::Completed);
    assert_eq!(world.executor().runs(&dispatch, 1), 1);
}

async fn unlinked(world: &World) -> DispatchId {
    world.register(&Flow::chain(1)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sub_dispatch_that_lacks_assets_fails_its_node() {
    let world = World::new().await;
    let script = json!({"gate": "g", "then": {"return": "ignored"}});
    let dispatch = world.dispatch(&around(script)).await;
    world.until(&dispatch, |record| record.nodes[1].state.status == Status::Running).await;
    let flow = built(&[json!({"return": "never uploaded"})]);
    let child = world.handle().register(flow.manifest).await.unwrap().dispatch;
    world.handle().link(&dispatch, NodeId(1), &child).await.unwrap();
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(record.nodes[1].state.status, Status::Failed);
    let error = world.error(&dispatch, 1).await;
    assert!(error.contains("missing"), "{error}");
    let of_child = world.text(&child, AssetAddress::of_dispatch(AssetKey::Error)).await;
    assert_eq!(of_child, error);
}

/// A server that stops refuses uploads. The builder then leaves everything in its output, and the
/// sub-dispatch that it had linked runs with that.
#[tokio::test(flavor = "multi_thread")]
async fn a_sub_dispatch_whose_uploads_were_refused_is_completed_from_the_output() {
    let world = World::new().await;
    let scripts = [json!({"return": "refused upload"}), json!({"return": 6})];
    let script = json!({"gate": "g", "then": {"return": lattice(&scripts)}});
    let dispatch = world.dispatch(&around(script)).await;
    world.until(&dispatch, |record| record.nodes[1].state.status == Status::Running).await;
    let child = world.handle().register(built(&scripts).manifest).await.unwrap().dispatch;
    world.handle().link(&dispatch, NodeId(1), &child).await.unwrap();
    world.gates.open("g");
    let record = world.end(&dispatch).await;
    assert_eq!(statuses(&record), [Status::Completed; 3]);
    assert_eq!(record.nodes[1].sub_dispatch, Some(child));
    assert_eq!(world.output(&dispatch, 1).await, "6");
}
