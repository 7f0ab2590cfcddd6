//! What a purge removes, what it leaves, and that nobody who is about to refer to a content loses
//! it.

use std::sync::Arc;

use cov_core::asset::{Announced, AssetKey, AssetState, SmallContent};
use cov_core::status::Status;

use super::fixtures::{
    LARGE, announced, asset, at, bytes, chain, content, dispatch_state, id, node, of_node,
    register, register_as, set, small, write,
};
use super::{Harness, Opened};
use crate::model::{Change, ChangeSet, PurgeQuery, Purged, Query};
use crate::{Blob, Error, Staged, Store};

/// Everything that has ended, however lately.
fn all() -> PurgeQuery {
    PurgeQuery { ended_before: at(1_000), statuses: Vec::new(), dry_run: false }
}

fn state(dispatch: &str, status: Status) -> ChangeSet {
    set(dispatch, 2, vec![Change::Dispatch(dispatch_state(status))])
}

fn output(dispatch: &str, text: &str) -> ChangeSet {
    set(dispatch, 1, vec![small(of_node(0, AssetKey::Output), text)])
}

/// Commits a dispatch that ended, whose first node has this output.
async fn ended(store: &dyn Store, dispatch: &str, status: Status, text: &str) {
    let batch = [register(dispatch, 2), output(dispatch, text), state(dispatch, status)];
    store.commit(&batch).await.unwrap();
}

async fn left(store: &dyn Store) -> Vec<String> {
    let query = Query { latest_first: false, limit: 100, ..Query::default() };
    let left = store.summaries(&query).await.unwrap();
    left.into_iter().map(|summary| summary.dispatch_id.to_string()).collect()
}

/// By state and by time; what is under way or was never started stays.
pub async fn what_matches_goes_and_the_rest_stays(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    ended(store, "done", Status::Completed, "one").await;
    ended(store, "failed", Status::Failed, "two").await;
    ended(store, "cancelled", Status::Cancelled, "three").await;
    store.commit(&[register("new", 1), register("busy", 1)]).await.unwrap();
    store.commit(&[state("busy", Status::Running)]).await.unwrap();

    // They ended at second 9: not before it.
    let early = PurgeQuery { ended_before: at(9), ..all() };
    assert_eq!(store.purge(&early).await.unwrap(), Purged::default());
    let one = PurgeQuery { statuses: vec![Status::Completed, Status::Running], ..all() };
    let dry = PurgeQuery { dry_run: true, ..one.clone() };
    let expected = Purged { dispatches: 1, contents: 1, bytes: 3 };
    assert_eq!(store.purge(&dry).await.unwrap(), expected);
    assert_eq!(left(store).await.len(), 5);
    assert_eq!(store.purge(&one).await.unwrap(), expected);
    assert_eq!(left(store).await, ["failed", "cancelled", "new", "busy"]);
    assert!(matches!(store.record(&id("done")).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.load(&id("done")).await, Err(Error::NotFound { .. })));
    let gone = store.asset(&id("done"), of_node(0, AssetKey::Output)).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })));
    assert!(!opened.contents.holds(&content("one").id).await.unwrap());
    assert_eq!(store.known_contents(&[announced("one")]).await.unwrap(), [None]);

    let rest = store.purge(&all()).await.unwrap();
    assert_eq!(rest, Purged { dispatches: 2, contents: 2, bytes: 8 });
    assert_eq!(left(store).await, ["new", "busy"]);
    store.load(&id("busy")).await.unwrap();
}

/// Nothing is left of what an engine outside called a task.
pub async fn a_job_goes_with_its_dispatch(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    let job = |dispatch, text| set(dispatch, 1, vec![small(of_node(0, AssetKey::Job), text)]);
    ended(store, "done", Status::Completed, "one").await;
    store.commit(&[register("busy", 2), state("busy", Status::Running)]).await.unwrap();
    store.commit(&[job("done", "job 1"), job("busy", "job 2")]).await.unwrap();
    let purged = store.purge(&all()).await.unwrap();
    assert_eq!(purged, Purged { dispatches: 1, contents: 2, bytes: 8 });
    assert!(!opened.contents.holds(&content("job 1").id).await.unwrap());
    let busy = store.load(&id("busy")).await.unwrap();
    assert_eq!(busy.nodes[0].contents.job.as_deref(), Some(&content("job 2")));
}

/// A dispatch goes with all below it, never alone, and never while anything below it runs.
pub async fn a_hierarchy_goes_as_a_whole(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    let names = ["top", "middle", "bottom"];
    store.commit(&names.map(|name| register(name, 1))).await.unwrap();
    let link = |parent, child| {
        set(parent, 1, vec![Change::Link { node: cov_core::ids::NodeId(0), child: id(child) }])
    };
    store.commit(&[link("top", "middle"), link("middle", "bottom")]).await.unwrap();
    store.commit(&[state("bottom", Status::Completed)]).await.unwrap();
    store.commit(&[state("middle", Status::Running)]).await.unwrap();
    assert_eq!(store.purge(&all()).await.unwrap().dispatches, 0, "a part has ended");
    store.commit(&[state("top", Status::Failed)]).await.unwrap();
    assert_eq!(store.purge(&all()).await.unwrap().dispatches, 0, "a part runs");
    store.commit(&[state("middle", Status::Completed)]).await.unwrap();
    assert_eq!(store.purge(&all()).await.unwrap().dispatches, 3);
    assert_eq!(left(store).await, Vec::<String>::new());
}

/// Also a content that lost its last asset, and large ones with their files.
pub async fn contents_go_with_their_last_asset(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    let large = write(opened.contents.as_ref(), &bytes(1, LARGE), 100_000).await;
    let address = of_node(1, AssetKey::Output);
    for name in ["a", "b"] {
        ended(store, name, Status::Completed, "shared").await;
        store.commit(&[set(name, 3, vec![asset(address, &large)])]).await.unwrap();
    }
    store.commit(&[state("b", Status::Running)]).await.unwrap();
    assert_eq!(store.purge(&all()).await.unwrap(), Purged { dispatches: 1, ..Purged::default() });
    let path = match opened.contents.read(&large.content).await.unwrap() {
        Blob::File { path, .. } => Some(path),
        Blob::Small(_) => None,
    };
    let path = path.unwrap();
    assert!(path.exists());
    // Replaced: nobody refers to "shared" any more.
    store.commit(&[output("b", "other")]).await.unwrap();
    let purged = store.purge(&all()).await.unwrap();
    assert_eq!(purged, Purged { dispatches: 0, contents: 1, bytes: 6 });

    store.commit(&[state("b", Status::Completed)]).await.unwrap();
    let purged = store.purge(&all()).await.unwrap();
    assert_eq!(purged, Purged { dispatches: 1, contents: 2, bytes: LARGE as u64 + 5 });
    assert!(!path.exists());
    assert!(matches!(opened.contents.read(&large.content).await, Err(Error::Corrupt { .. })));
    // And it can come again.
    let again = write(opened.contents.as_ref(), &bytes(1, LARGE), 100_000).await;
    let batch = [register("c", 2), set("c", 1, vec![asset(address, &again)])];
    store.commit(&batch).await.unwrap();
    assert!(matches!(opened.contents.read(&large.content).await, Ok(Blob::File { .. })));
}

/// A registration was told that the server has a content, then comes the purge, then the commit.
pub async fn a_content_that_was_promised_stays(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    let large = write(opened.contents.as_ref(), &bytes(2, LARGE), 100_000).await;
    ended(store, "old", Status::Completed, "promised").await;
    let address = of_node(1, AssetKey::Output);
    store.commit(&[set("old", 3, vec![asset(address, &large)])]).await.unwrap();
    let of_large = Announced { size: large.content.size, sha1: Some(large.content.sha1) };
    let known = store.known_contents(&[announced("promised"), of_large]).await.unwrap();
    assert_eq!(known, [Some(content("promised")), Some(large.content)]);

    let purged = store.purge(&all()).await.unwrap();
    assert_eq!(purged, Purged { dispatches: 1, ..Purged::default() });
    let mut registration = chain("new", 2);
    registration.assets = known
        .iter()
        .flatten()
        .zip([AssetKey::Function, AssetKey::Hooks])
        .map(|(content, key)| (of_node(0, key), AssetState::Present(*content)))
        .collect();
    store.commit(&[register_as("new", registration)]).await.unwrap();
    for content in known.iter().flatten() {
        opened.contents.read(content).await.unwrap();
    }
    // The promise is kept; now they go like all others.
    store.commit(&[state("new", Status::Cancelled)]).await.unwrap();
    assert_eq!(store.purge(&all()).await.unwrap().contents, 2);
}

/// An upload found the bytes stored, then comes the purge, then the commit; also for two at once.
pub async fn a_staged_content_stays(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    let data = bytes(3, LARGE);
    let address = of_node(1, AssetKey::Output);
    let first = write(opened.contents.as_ref(), &data, 100_000).await;
    assert_eq!(store.purge(&all()).await.unwrap(), Purged::default(), "before any row");
    ended(store, "old", Status::Completed, "text").await;
    store.commit(&[set("old", 3, vec![asset(address, &first)])]).await.unwrap();

    let second = write(opened.contents.as_ref(), &data, 100_000).await;
    let third = write(opened.contents.as_ref(), &data, 100_000).await;
    assert_eq!(store.purge(&all()).await.unwrap().dispatches, 1);
    for (name, staged) in [("b", second), ("c", third)] {
        let batch = [register(name, 2), set(name, 1, vec![asset(address, &staged)])];
        store.commit(&batch).await.unwrap();
        opened.contents.read(&staged.content).await.unwrap();
        store.commit(&[state(name, Status::Completed)]).await.unwrap();
        store.purge(&all()).await.unwrap();
    }
    assert!(!opened.contents.holds(&first.content.id).await.unwrap());
}

/// Two who staged the same content and are committed together hold it no longer.
pub async fn each_dispatch_of_a_batch_is_a_holder(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let (store, contents) = (opened.store.as_ref(), opened.contents.as_ref());
    let first = write(contents, &bytes(1, LARGE), LARGE).await;
    let second = write(contents, &bytes(1, LARGE), LARGE).await;
    let output = |staged: &Staged| vec![asset(of_node(0, AssetKey::Output), staged)];
    let batch = [
        register("a", 1),
        register("b", 1),
        set("a", 1, output(&first)),
        set("b", 1, output(&second)),
        state("a", Status::Completed),
        state("b", Status::Completed),
    ];
    store.commit(&batch).await.unwrap();
    let expected = Purged { dispatches: 2, contents: 1, bytes: LARGE as u64 };
    assert_eq!(store.purge(&all()).await.unwrap(), expected);
    assert!(!contents.holds(&first.content.id).await.unwrap());
}

/// Whoever refers to a content by hearsay finds out, and nothing of the commit is stored.
pub async fn a_commit_that_comes_too_late_is_refused(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    ended(store, "old", Status::Completed, "gone").await;
    store.purge(&all()).await.unwrap();
    let mut registration = chain("new", 1);
    registration.assets =
        vec![(of_node(0, AssetKey::Function), AssetState::Present(content("gone")))];
    let refused = store.commit(&[register_as("new", registration)]).await.unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused:?}");
    // Neither can a change of a dispatch that is gone reach the one that came after it.
    store.commit(&[register("next", 2)]).await.unwrap();
    let late = set("old", 5, vec![node(0, Status::Completed, 1)]);
    let refused = store.commit(&[late]).await.unwrap_err();
    assert!(matches!(refused, Error::NotFound { .. }), "{refused:?}");
    assert_eq!(left(store).await, ["next"]);
    assert_eq!(store.record(&id("next")).await.unwrap().summary.completed_node_count, 0);
    // An id that is free again can be taken again.
    store.commit(&[register("old", 1)]).await.unwrap();
}

/// Many write, commit and end the same few contents while purges run: what is committed is there.
pub async fn purges_beside_everything_lose_nothing(harness: &mut dyn Harness) {
    let opened = Arc::new(harness.open().await);
    let mut workers = Vec::new();
    for worker in 0..4_u8 {
        let opened = Arc::clone(&opened);
        workers.push(tokio::spawn(async move { work(&opened, worker).await }));
    }
    while workers.iter().any(|worker| !worker.is_finished()) {
        opened.store.purge(&all()).await.unwrap();
        // A store in memory never waits, and there may be one thread for all.
        tokio::task::yield_now().await;
    }
    for worker in workers {
        worker.await.unwrap();
    }
    opened.store.purge(&all()).await.unwrap();
    assert_eq!(left(opened.store.as_ref()).await, Vec::<String>::new());
    for seed in 0..3 {
        let content = SmallContent::new(bytes(seed, LARGE).into()).content;
        let of_large = Announced { size: content.size, sha1: Some(content.sha1) };
        assert_eq!(opened.store.known_contents(&[of_large]).await.unwrap(), [None]);
        assert!(!opened.contents.holds(&content.id).await.unwrap());
    }
}

/// Half of the dispatches bring their large content, half refer to one that is there.
async fn work(opened: &Opened, worker: u8) {
    let store = opened.store.as_ref();
    for round in 0..12_u8 {
        let name = format!("d{worker}-{round}");
        let data = bytes(round % 3, LARGE);
        let content = SmallContent::new(data.clone().into()).content;
        let of_large = Announced { size: content.size, sha1: Some(content.sha1) };
        let known = match round % 2 {
            0 => None,
            _ => store.known_contents(&[of_large]).await.unwrap()[0],
        };
        let large = match known {
            Some(content) => Staged { content, small: None },
            None => write(opened.contents.as_ref(), &data, LARGE).await,
        };
        let changes = vec![
            asset(of_node(0, AssetKey::Output), &large),
            small(of_node(0, AssetKey::Stdout), &format!("text {}", round % 2)),
        ];
        store.commit(&[register(&name, 1), set(&name, 1, changes)]).await.unwrap();
        for address in [of_node(0, AssetKey::Output), of_node(0, AssetKey::Stdout)] {
            let asset = store.asset(&id(&name), address).await.unwrap().unwrap();
            opened.contents.read(asset.content().unwrap()).await.unwrap();
        }
        store.commit(&[state(&name, Status::Completed)]).await.unwrap();
    }
}
