//! Which dispatch is the sub-dispatch of which node.

use cov_core::ids::{DispatchId, NodeId};

use super::Harness;
use super::fixtures::{chain, id, register, register_as, set};
use crate::model::Change;
use crate::{Error, Store};

fn link(parent: &str, node: u32, child: &str) -> crate::model::ChangeSet {
    set(parent, 1, vec![Change::Link { node: NodeId(node), child: id(child) }])
}

async fn roots(store: &dyn Store, names: &[&str]) -> Vec<DispatchId> {
    let mut roots = Vec::new();
    for name in names {
        roots.push(store.record(&id(name)).await.unwrap().summary.root_dispatch_id);
    }
    roots
}

/// Seen from both ends, by every call that shows it.
pub async fn a_child_takes_over_parent_and_root(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    store.commit(&[register("a", 3), register("b", 1)]).await.unwrap();
    assert_eq!(store.parent(&id("b")).await.unwrap(), None);
    store.commit(&[link("a", 2, "b")]).await.unwrap();
    // Once more: the same link is no change.
    store.commit(&[link("a", 2, "b")]).await.unwrap();

    assert_eq!(store.parent(&id("b")).await.unwrap(), Some((id("a"), NodeId(2))));
    let child = store.load(&id("b")).await.unwrap();
    assert_eq!((child.root, child.parent), (id("a"), Some((id("a"), NodeId(2)))));
    let parent = store.load(&id("a")).await.unwrap();
    let linked: Vec<_> = parent.nodes.into_iter().map(|node| node.sub_dispatch).collect();
    assert_eq!(linked, [None, None, Some(id("b"))]);
    assert_eq!(store.record(&id("a")).await.unwrap().nodes[2].sub_dispatch, Some(id("b")));
    let summary = store.record(&id("b")).await.unwrap().summary;
    assert_eq!(summary.parent_dispatch_id, Some(id("a")));
    assert_eq!(summary.root_dispatch_id, id("a"));
}

/// The earlier one stands alone again, with everything below it.
pub async fn a_later_child_takes_the_place_of_an_earlier_one(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    let all = ["a", "first", "below", "second"].map(|name| register(name, 2));
    store.commit(&all).await.unwrap();
    store.commit(&[link("a", 0, "first"), link("first", 1, "below")]).await.unwrap();
    assert_eq!(roots(store, &["first", "below"]).await, [id("a"), id("a")]);
    store.commit(&[link("a", 0, "second")]).await.unwrap();
    assert_eq!(store.load(&id("a")).await.unwrap().nodes[0].sub_dispatch, Some(id("second")));
    assert_eq!(store.parent(&id("first")).await.unwrap(), None);
    assert_eq!(store.parent(&id("below")).await.unwrap(), Some((id("first"), NodeId(1))));
    let expected = [id("first"), id("first"), id("a")];
    assert_eq!(roots(store, &["first", "below", "second"]).await, expected);
    // A child that moves leaves its old place empty.
    store.commit(&[link("a", 1, "second")]).await.unwrap();
    let nodes = store.load(&id("a")).await.unwrap().nodes;
    assert_eq!(
        (nodes[0].sub_dispatch.clone(), nodes[1].sub_dispatch.clone()),
        (None, Some(id("second")))
    );
}

/// A registration may name its parent, also one of the same batch, and takes an earlier place.
pub async fn a_child_may_come_with_its_parent(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    let child = |name| {
        let mut registration = chain(name, 1);
        registration.root = id("a");
        registration.parent = Some((id("a"), NodeId(1)));
        register_as(name, registration)
    };
    store.commit(&[register("a", 2), child("b")]).await.unwrap();
    assert_eq!(store.parent(&id("b")).await.unwrap(), Some((id("a"), NodeId(1))));
    store.commit(&[child("c")]).await.unwrap();
    assert_eq!(store.parent(&id("b")).await.unwrap(), None);
    assert_eq!(store.load(&id("a")).await.unwrap().nodes[1].sub_dispatch, Some(id("c")));
    assert_eq!(roots(store, &["b", "c"]).await, [id("b"), id("a")]);

    let mut orphan = chain("d", 1);
    orphan.parent = Some((id("no"), NodeId(0)));
    let refused = store.commit(&[register_as("d", orphan)]).await.unwrap_err();
    assert!(matches!(refused, Error::NotFound { dispatch } if dispatch == id("no")));
    assert!(matches!(store.record(&id("d")).await, Err(Error::NotFound { .. })));
}

/// A hierarchy that is built from the bottom has one root in the end.
pub async fn a_root_passes_on_to_the_bottom(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    let names = ["a", "b", "c", "d"];
    store.commit(&names.map(|name| register(name, 1))).await.unwrap();
    store.commit(&[link("c", 0, "d"), link("b", 0, "c"), link("a", 0, "b")]).await.unwrap();
    assert_eq!(roots(store, &names).await, [id("a"), id("a"), id("a"), id("a")]);
}

/// A link that would close a circle is refused, and nothing hangs.
pub async fn no_dispatch_stands_above_itself(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    store.commit(&["a", "b", "c"].map(|name| register(name, 1))).await.unwrap();
    store.commit(&[link("a", 0, "b"), link("b", 0, "c")]).await.unwrap();
    for circle in [link("c", 0, "a"), link("a", 0, "a"), link("c", 0, "b")] {
        assert!(matches!(store.commit(&[circle]).await, Err(Error::Internal(_))));
    }
    assert_eq!(store.parent(&id("a")).await.unwrap(), None);
    assert_eq!(roots(store, &["a", "b", "c"]).await, [id("a"), id("a"), id("a")]);
}
