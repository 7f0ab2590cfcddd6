//! How a dispatch comes into being.

use cov_core::asset::{AssetAddress, AssetKey, AssetState};
use cov_core::graph::{Graph, NodeKind};
use cov_core::ids::NodeId;
use cov_core::status::Status;

use super::Harness;
use super::fixtures::{
    announced, at, chain, chain_with_assets, content, id, node, of_node, register, register_as,
    set, small,
};
use crate::Error;
use crate::model::{Change, NodeState, Query};

/// Every field of a registration is in the record.
pub async fn a_dispatch_is_recorded_as_registered(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let mut registration = chain("a", 5);
    registration.nodes[3].state.status = Status::PendingReplacement;
    // Given in any order, recorded by target.
    registration.edges.reverse();
    opened.store.commit(&[register_as("a", registration.clone())]).await.unwrap();

    let record = opened.store.record(&id("a")).await.unwrap();
    assert_eq!(record.summary.dispatch_id, id("a"));
    assert_eq!(record.summary.root_dispatch_id, id("a"));
    assert_eq!(record.summary.parent_dispatch_id, None);
    assert_eq!(record.summary.name, "lattice of a");
    assert_eq!(record.summary.status, Status::NewObject);
    assert_eq!((record.summary.node_count, record.summary.completed_node_count), (5, 0));
    assert_eq!((record.summary.created_at, record.summary.updated_at), (at(0), at(0)));
    assert_eq!((record.summary.started_at, record.summary.ended_at), (None, None));
    assert_eq!(record.lattice, registration.lattice);
    assert_eq!(record.executors, registration.executors);
    assert_eq!(record.edges, chain("a", 5).edges);
    assert_eq!(record.assets, []);
    assert_eq!(record.nodes.len(), 5);
    for (recorded, registered) in record.nodes.iter().zip(&registration.nodes) {
        assert_eq!(recorded.name, registered.name);
        assert_eq!(recorded.kind, registered.kind);
        assert_eq!(recorded.task_group, registered.task_group);
        assert_eq!(recorded.executor, registered.executor);
        assert_eq!(recorded.state, registered.state);
        assert_eq!((recorded.sub_dispatch.as_ref(), recorded.assets.len()), (None, 0));
    }
}

/// The node whose output is the result is known, also to a store that is opened again.
pub async fn the_node_that_ends_a_lattice_is_found(harness: &mut dyn Harness) {
    let kinds = [NodeKind::Task, NodeKind::Postprocess, NodeKind::Task];
    let mut with = chain("with", 3);
    with.nodes.iter_mut().zip(kinds).for_each(|(node, kind)| node.kind = kind);
    let mut without = with.clone();
    without.root = id("without");
    without.nodes[1].kind = NodeKind::Task;
    let sets = [register_as("with", with), register_as("without", without)];
    harness.open().await.store.commit(&sets).await.unwrap();
    for _ in 0..2 {
        let opened = harness.open().await;
        for _ in 0..2 {
            assert_eq!(opened.store.result_node(&id("with")).await.unwrap(), Some(NodeId(1)));
            assert_eq!(opened.store.result_node(&id("without")).await.unwrap(), None);
        }
        let unknown = opened.store.result_node(&id("unknown")).await.unwrap_err();
        assert!(matches!(unknown, Error::NotFound { .. }), "{unknown:?}");
    }
}

/// What the owner gets is what was registered.
pub async fn a_dispatch_loads_as_registered(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let registration = chain("a", 6);
    opened.store.commit(&[register("a", 6)]).await.unwrap();

    let stored = opened.store.load(&id("a")).await.unwrap();
    assert_eq!((stored.dispatch, stored.root, stored.parent), (id("a"), id("a"), None));
    assert_eq!(stored.state.status, Status::NewObject);
    assert_eq!(stored.executors, registration.executors);
    let kinds: Vec<_> = registration.nodes.iter().map(|node| node.kind).collect();
    let graph = Graph::new(&kinds, &registration.edges).unwrap();
    assert_eq!(stored.graph.edges().collect::<Vec<_>>(), graph.edges().collect::<Vec<_>>());
    assert!(stored.graph.nodes().all(|node| stored.graph.kind(node) == kinds[node.index()]));
    let executors: Vec<u32> = stored.nodes.iter().map(|node| node.executor).collect();
    assert_eq!(executors, [0, 1, 0, 1, 0, 1]);
    assert!(stored.nodes.iter().all(|node| node.state == NodeState::default()));
}

/// A second registration of an id is refused with all of its batch, and the first stays.
pub async fn an_id_is_taken_once(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    opened.store.commit(&[register("a", 2)]).await.unwrap();
    for batch in
        [vec![register("b", 1), register("a", 3)], vec![register("c", 1), register("c", 1)]]
    {
        let refused = opened.store.commit(&batch).await.unwrap_err();
        let taken = &batch[1].dispatch;
        assert!(matches!(&refused, Error::Exists { dispatch } if dispatch == taken), "{refused:?}");
    }
    assert_eq!(opened.store.record(&id("a")).await.unwrap().nodes.len(), 2);
    assert_eq!(opened.store.count(&Query::default()).await.unwrap(), 1);
}

/// Every call that names a dispatch tells when there is none.
pub async fn an_unknown_dispatch_is_not_found(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let (store, no) = (&opened.store, id("no"));
    let address = AssetAddress::of_dispatch(AssetKey::Inputs);
    let not_found =
        |error: Error| matches!(error, Error::NotFound { dispatch } if dispatch == id("no"));
    assert!(not_found(store.load(&no).await.unwrap_err()));
    assert!(not_found(store.record(&no).await.unwrap_err()));
    assert!(not_found(store.asset(&no, address).await.unwrap_err()));
    assert!(not_found(store.awaited(&no).await.unwrap_err()));
    assert!(not_found(store.parent(&no).await.unwrap_err()));
    for change in [node(0, Status::Running, 1), small(address, "x")] {
        assert!(not_found(store.commit(&[set("no", 1, vec![change])]).await.unwrap_err()));
    }
    let known = store.known_contents(&[announced("x")]).await.unwrap();
    assert_eq!(known, [None], "a refused batch left its content");
}

/// An asset of unknown content refuses the whole registration.
pub async fn a_registration_is_whole_or_absent(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let registration = chain_with_assets("a", 2, &[content("never stored")]);
    let batch = [register("b", 1), register_as("a", registration)];
    let refused = opened.store.commit(&batch).await.unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused:?}");
    assert_eq!(opened.store.count(&Query::default()).await.unwrap(), 0);
    opened.store.commit(&[register("a", 1)]).await.unwrap();
    assert_eq!(opened.store.awaited(&id("a")).await.unwrap().assets, []);
}

/// A batch may hold a registration, changes of it, and the contents that it refers to.
pub async fn changes_may_follow_in_the_same_batch(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let address = AssetAddress::of_dispatch(AssetKey::Doc);
    let batch = [
        register("b", 1),
        set("b", 1, vec![small(address, "value")]),
        register_as("a", chain_with_assets("a", 3, &[content("value")])),
        set(
            "a",
            4,
            vec![node(2, Status::Completed, 1), small(of_node(2, AssetKey::Stderr), "new")],
        ),
    ];
    opened.store.commit(&batch).await.unwrap();
    let record = opened.store.record(&id("a")).await.unwrap();
    assert_eq!(record.nodes[2].state.status, Status::Completed);
    assert_eq!(record.summary.completed_node_count, 1);
    assert_eq!(record.summary.updated_at, at(4));
    // Present at registration with one content, then replaced.
    let replaced = (of_node(2, AssetKey::Stderr), AssetState::Present(content("new")));
    assert_eq!(record.nodes[2].assets, [replaced]);
}

/// Whatever the number of rows that a statement carries, none is lost or doubled.
pub async fn any_number_of_nodes_and_assets_is_kept(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    for count in [1, 2, 7, 8, 9, 63, 64, 65, 127, 137, 200] {
        let name = format!("n{count}");
        let mut registration = chain(&name, count);
        let asset = |index| (of_node(index, AssetKey::Value), AssetState::Awaited(announced("v")));
        registration.assets = (0..count).map(asset).collect();
        let changes = (0..count).map(|index| node(index, Status::Completed, index + 1));
        let batch = [register_as(&name, registration), set(&name, 1, changes.collect())];
        opened.store.commit(&batch).await.unwrap();
        let record = opened.store.record(&id(&name)).await.unwrap();
        assert_eq!(record.summary.completed_node_count, count);
        assert_eq!(record.edges.len(), count as usize - 1);
        let attempts = record.nodes.iter().map(|node| node.state.failed_attempts);
        assert!(attempts.eq(1..=count), "{count} nodes");
        let addresses = record.nodes.iter().flat_map(|node| &node.assets).map(|(one, _)| one.node);
        assert!(addresses.eq((0..count).map(|index| Some(NodeId(index)))), "{count} assets");
    }
}

/// A store that is dropped without notice and opened again has everything.
pub async fn what_was_acknowledged_outlasts_the_process(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let address = AssetAddress::of_dispatch(AssetKey::Doc);
    let batch = [register("a", 3), set("a", 2, vec![small(address, "doc")])];
    opened.store.commit(&batch).await.unwrap();
    let link = Change::Link { node: NodeId(1), child: id("b") };
    opened.store.commit(&[register("b", 1), set("a", 5, vec![link])]).await.unwrap();
    let before = opened.store.record(&id("a")).await.unwrap();
    drop(opened);

    let opened = harness.open().await;
    let after = opened.store.record(&id("a")).await.unwrap();
    assert_eq!(after.summary, before.summary);
    assert_eq!(after.assets, [(address, AssetState::Present(content("doc")))]);
    assert_eq!(after.nodes[1].sub_dispatch, Some(id("b")));
    assert_eq!(opened.store.parent(&id("b")).await.unwrap(), Some((id("a"), NodeId(1))));
    opened.store.commit(&[register("c", 1)]).await.unwrap();
}
