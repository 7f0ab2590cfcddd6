//! Assets: announced, uploaded, known already.

use std::sync::Arc;

use cov_core::asset::{Announced, AssetAddress, AssetKey, AssetState, ContentRef};
use cov_core::status::Status;

use super::Harness;
use super::fixtures::{
    LARGE, announced, asset, bytes, chain_with_assets, content, id, node, of_node, register,
    register_as, set, small, unknown, write,
};
use crate::Error;
use crate::model::{Change, NodeContents, StoredDispatch};

/// Announced, then there, then replaced, then awaited again.
pub async fn an_upload_replaces_its_announcement(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    opened.store.commit(&[register("a", 2)]).await.unwrap();
    for address in [AssetAddress::of_dispatch(AssetKey::Inputs), of_node(1, AssetKey::Output)] {
        assert_eq!(opened.store.asset(&id("a"), address).await.unwrap(), None);
        let announce = |text| Change::Announce { address, announced: announced(text) };
        for (change, expected) in [
            (announce("one"), AssetState::Awaited(announced("one"))),
            (small(address, "two"), AssetState::Present(content("two"))),
            (small(address, "three"), AssetState::Present(content("three"))),
            (announce("four"), AssetState::Awaited(announced("four"))),
        ] {
            opened.store.commit(&[set("a", 1, vec![change])]).await.unwrap();
            let stored = opened.store.asset(&id("a"), address).await.unwrap();
            assert_eq!(stored, Some(expected), "{address}");
        }
    }
    let nowhere = of_node(2, AssetKey::Output);
    assert_eq!(opened.store.asset(&id("a"), nowhere).await.unwrap(), None);
}

/// What a dispatch waits for, with the size and digest that were announced.
pub async fn awaited_assets_are_listed(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let batch = [register_as("a", chain_with_assets("a", 2, &[])), register("b", 3)];
    opened.store.commit(&batch).await.unwrap();
    let inputs = (AssetAddress::of_dispatch(AssetKey::Inputs), announced("inputs"));
    let value = (of_node(0, AssetKey::Value), Announced { size: u64::MAX, sha1: None });
    let awaited = opened.store.awaited(&id("a")).await.unwrap();
    assert_eq!((awaited.assets, awaited.node_count), (vec![inputs, value], 2));
    opened.store.commit(&[set("a", 1, vec![small(inputs.0, "inputs")])]).await.unwrap();
    assert_eq!(opened.store.awaited(&id("a")).await.unwrap().assets, [value]);
    let other = opened.store.awaited(&id("b")).await.unwrap();
    assert_eq!((other.assets, other.node_count), (vec![], 3));
}

/// One upload is there for every asset of its dispatch with that digest and size, and for no
/// other.
pub async fn a_content_fulfils_all_that_await_it(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let awaits = |node, key, announced| Change::Announce { address: of_node(node, key), announced };
    let other_size = Announced { size: announced("{}").size + 1, ..announced("{}") };
    let undigested = Announced { sha1: None, ..announced("{}") };
    let mut changes: Vec<Change> =
        (0..70).map(|node| awaits(node, AssetKey::Hooks, announced("{}"))).collect();
    changes.push(awaits(0, AssetKey::Value, announced("other")));
    changes.push(awaits(0, AssetKey::Stdout, other_size));
    changes.push(awaits(0, AssetKey::Stderr, undigested));
    let elsewhere = set("b", 1, vec![awaits(0, AssetKey::Hooks, announced("{}"))]);
    let batch = [register("a", 70), register("b", 1), set("a", 1, changes), elsewhere];
    opened.store.commit(&batch).await.unwrap();
    let fulfil = set("a", 2, vec![Change::Fulfil { content: content("{}") }]);
    let refused = opened.store.commit(std::slice::from_ref(&fulfil)).await.unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused:?}");

    let upload = set("a", 2, vec![small(of_node(7, AssetKey::Hooks), "{}")]);
    opened.store.commit(&[fulfil.clone(), upload]).await.unwrap();
    let present = Some(AssetState::Present(content("{}")));
    for node in 0..70 {
        let stored = opened.store.asset(&id("a"), of_node(node, AssetKey::Hooks)).await.unwrap();
        assert_eq!(stored, present, "node {node}");
    }
    let awaited = opened.store.awaited(&id("a")).await.unwrap().assets;
    let keys: Vec<AssetKey> = awaited.iter().map(|(address, _)| address.key).collect();
    assert_eq!(keys, [AssetKey::Value, AssetKey::Stdout, AssetKey::Stderr]);
    assert_eq!(opened.store.awaited(&id("b")).await.unwrap().assets.len(), 1);
    // Known now: saying it again changes nothing.
    opened.store.commit(&[fulfil]).await.unwrap();
    assert_eq!(opened.store.awaited(&id("a")).await.unwrap().assets, awaited);
}

/// A small content whose bytes nobody has cannot become an asset; nor one with other bytes.
pub async fn an_asset_without_stored_bytes_is_refused(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    opened.store.commit(&[register("a", 1)]).await.unwrap();
    let address = of_node(0, AssetKey::Output);
    let without = Change::Asset { address, content: content("x"), small: None };
    let other = Change::Asset { address, content: content("xx"), small: Some("x".into()) };
    let nowhere = small(of_node(1, AssetKey::Output), "x");
    for bad in [without.clone(), other, nowhere] {
        let batch = [set("a", 1, vec![node(0, Status::Completed, 1), bad])];
        let refused = opened.store.commit(&batch).await.unwrap_err();
        assert!(matches!(refused, Error::Corrupt { .. } | Error::Internal(_)), "{refused:?}");
        assert_eq!(opened.store.asset(&id("a"), address).await.unwrap(), None);
        let summary = opened.store.record(&id("a")).await.unwrap().summary;
        assert_eq!(summary.completed_node_count, 0);
    }
    // Once the content is known, its bytes need not come again.
    let elsewhere = small(AssetAddress::of_dispatch(AssetKey::Doc), "x");
    opened.store.commit(&[set("a", 1, vec![elsewhere])]).await.unwrap();
    opened.store.commit(&[set("a", 1, vec![without])]).await.unwrap();
    let stored = opened.store.asset(&id("a"), address).await.unwrap();
    assert_eq!(stored, Some(AssetState::Present(content("x"))));
}

/// By digest and size together, each announcement for itself.
pub async fn contents_are_known_by_digest_and_size(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let texts: Vec<String> = (0..700).map(|number| format!("text {number}")).collect();
    let asked: Vec<Announced> = texts.iter().map(|text| announced(text)).collect();
    let none = opened.store.known_contents(&asked).await.unwrap();
    assert!(none.len() == 700 && none.iter().all(Option::is_none));

    opened.store.commit(&[register("a", 700)]).await.unwrap();
    let even = (0_u32..).zip(&texts).step_by(2);
    let even = even.map(|(index, text)| small(of_node(index, AssetKey::Value), text));
    opened.store.commit(&[set("a", 1, even.collect())]).await.unwrap();
    for (index, known) in opened.store.known_contents(&asked).await.unwrap().into_iter().enumerate()
    {
        let expected = (index % 2 == 0).then(|| content(&texts[index]));
        assert_eq!(known, expected, "{}", texts[index]);
    }
    let longer = Announced { size: announced("text 0").size + 1, ..announced("text 0") };
    let undigested = Announced { sha1: None, ..announced("text 0") };
    let mixed = [announced("text 0"), unknown(), announced("text 0"), longer, undigested];
    let expected = [Some(content("text 0")), None, Some(content("text 0")), None, None];
    assert_eq!(opened.store.known_contents(&mixed).await.unwrap(), expected);
    assert_eq!(opened.store.known_contents(&[]).await.unwrap(), []);
}

/// A digest with a known collision names neither of the two.
pub async fn an_ambiguous_digest_matches_nothing(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let one = content("one");
    let other = ContentRef { id: content("other").id, ..one };
    let keys = [(AssetKey::Output, one), (AssetKey::Value, other)];
    let changes = keys.map(|(key, content)| Change::Asset {
        address: of_node(0, key),
        content,
        small: Some("one".into()),
    });
    let [first, second] = changes;
    opened.store.commit(&[register("a", 1), set("a", 1, vec![first])]).await.unwrap();
    assert_eq!(opened.store.known_contents(&[announced("one")]).await.unwrap(), [Some(one)]);
    opened.store.commit(&[set("a", 1, vec![second])]).await.unwrap();
    assert_eq!(opened.store.known_contents(&[announced("one")]).await.unwrap(), [None]);
}

/// Many dispatches refer to the same content, and a registration may refer to it by name alone.
pub async fn a_content_is_shared_by_dispatches(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let address = of_node(0, AssetKey::Function);
    opened
        .store
        .commit(&[register("a", 1), set("a", 1, vec![small(address, "same")])])
        .await
        .unwrap();
    let batch = [
        register("b", 1),
        set("b", 1, vec![small(address, "same")]),
        register_as("c", chain_with_assets("c", 1, &[content("same")])),
    ];
    opened.store.commit(&batch).await.unwrap();
    let expected = Some(AssetState::Present(content("same")));
    assert_eq!(opened.store.asset(&id("b"), address).await.unwrap(), expected);
    let of_c = of_node(0, AssetKey::Stderr);
    assert_eq!(opened.store.asset(&id("c"), of_c).await.unwrap(), expected);
    assert!(opened.contents.holds(&content("same").id).await.unwrap());
    assert!(!opened.contents.holds(&content("other").id).await.unwrap());
}

/// A loaded dispatch has the callables, hooks and outputs that are there, each at its node.
pub async fn the_owner_gets_what_its_tasks_need(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let mut changes = Vec::new();
    for key in AssetKey::OF_NODE {
        changes.push(small(of_node(1, key), &format!("1 {key}")));
    }
    changes.push(Change::Announce {
        address: of_node(0, AssetKey::Function),
        announced: announced("not there"),
    });
    changes.push(small(of_node(1, AssetKey::Job), "1 job"));
    changes.push(small(AssetAddress::of_dispatch(AssetKey::Hooks), "of the lattice"));
    changes.push(small(AssetAddress::of_dispatch(AssetKey::Job), "of nobody"));
    let batch = [register_as("a", chain_with_assets("a", 3, &[])), set("a", 1, changes)];
    opened.store.commit(&batch).await.unwrap();
    let stored = opened.store.load(&id("a")).await.unwrap();
    let [none, all, last] = [0, 1, 2].map(|index: usize| stored.nodes[index].contents.clone());
    let expected = NodeContents {
        function: Some(Arc::new(content("1 function"))),
        hooks: Some(Box::new(content("1 hooks"))),
        output: Some(content("1 output")),
        job: Some(Box::new(content("1 job"))),
    };
    assert_eq!(all, expected);
    assert_eq!((none, last), (NodeContents::default(), NodeContents::default()));
}

/// What an engine outside calls the latest attempt takes the place of what it called an earlier
/// one, and is there after the process died.
pub async fn the_latest_job_of_a_node_is_kept(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let job = of_node(1, AssetKey::Job);
    let large = write(&*opened.contents, &bytes(1, LARGE), LARGE).await;
    opened.store.commit(&[register("a", 2), register("b", 2)]).await.unwrap();
    let changes = [
        (small(job, "first"), content("first")),
        (asset(job, &large), large.content),
        (small(job, "last"), content("last")),
    ];
    for (change, expected) in changes {
        opened.store.commit(&[set("a", 1, vec![change])]).await.unwrap();
        let stored = opened.store.load(&id("a")).await.unwrap();
        assert_eq!(stored.nodes[1].contents.job.as_deref(), Some(&expected));
    }
    drop(opened);
    let opened = harness.open().await;
    let of = |stored: StoredDispatch| {
        let jobs = stored.nodes.iter().map(|node| node.contents.job.as_deref().copied());
        jobs.collect::<Vec<_>>()
    };
    let stored = opened.store.load(&id("a")).await.unwrap();
    assert_eq!(of(stored), [None, Some(content("last"))]);
    let other = opened.store.load(&id("b")).await.unwrap();
    assert_eq!(of(other), [None, None]);
    assert!(opened.contents.holds(&content("last").id).await.unwrap());
}
