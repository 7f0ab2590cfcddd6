//! What was damaged on disk is reported, and never handed out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cov_core::asset::{Announced, AssetAddress, AssetKey, ContentRef};
use cov_core::status::Status;
use cov_store::conformance::fixtures::{
    LARGE, asset, bytes, content, id, node, of_node, register, register_as, set, small, write,
};
use cov_store::conformance::fixtures::{chain_with_assets, dispatch_state};
use cov_store::model::{Change, Query};
use cov_store::{Blob, Contents, Error, SqliteStore, Store};

use super::opening::tamper;

fn is_corrupt<T: std::fmt::Debug>(result: Result<T, Error>, part: &str) {
    match result {
        Err(Error::Corrupt { what, .. }) => assert!(what.contains(part), "{what}"),
        other => panic!("expected damage of {part}, got {other:?}"),
    }
}

/// A store with a large content, and the place of its file.
async fn with_large(folder: &Path) -> (SqliteStore, ContentRef, PathBuf) {
    let store = SqliteStore::open(folder).await.unwrap();
    let staged = write(&store, &bytes(1, LARGE), 100_000).await;
    let change = asset(of_node(0, AssetKey::Output), &staged);
    store.commit(&[register("a", 1), set("a", 1, vec![change])]).await.unwrap();
    let Blob::File { path, .. } = store.read(&staged.content).await.unwrap() else {
        panic!("a large content is a file");
    };
    (store, staged.content, path)
}

fn overwrite(path: &Path, data: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path, data).unwrap();
}

fn flip(path: &Path) {
    let mut data = fs::read(path).unwrap();
    data[LARGE / 2] ^= 1;
    overwrite(path, &data);
}

#[tokio::test]
async fn a_flipped_bit_in_a_file_is_found_after_a_restart_and_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (store, content, path) = with_large(folder.path()).await;
    flip(&path);
    is_corrupt(store.read(&content).await, &content.id.to_string());
    drop(store);
    let store = SqliteStore::open(folder.path()).await.unwrap();
    is_corrupt(store.read(&content).await, &content.id.to_string());
    // Flipped back: the same bytes are the same content.
    flip(&path);
    store.read(&content).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_short_or_gone_is_found_and_uploaded_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (store, content, path) = with_large(folder.path()).await;
    let announced = [Announced { size: content.size, sha1: Some(content.sha1) }];
    assert_eq!(store.known_contents(&announced).await.unwrap(), [Some(content)]);
    for damage in
        [|path: &Path| overwrite(path, b"short"), |path: &Path| fs::remove_file(path).unwrap()]
    {
        damage(&path);
        is_corrupt(store.read(&content).await, &content.id.to_string());
        assert_eq!(store.known_contents(&announced).await.unwrap(), [None]);
        let again = write(&store, &bytes(1, LARGE), 100_000).await;
        assert_eq!(again.content, content);
        store.read(&content).await.unwrap();
        assert_eq!(store.known_contents(&announced).await.unwrap(), [Some(content)]);
    }
}

#[tokio::test]
async fn a_flipped_bit_in_a_row_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let batch = [register("a", 1), set("a", 1, vec![small(of_node(0, AssetKey::Output), "good")])];
    store.commit(&batch).await.unwrap();
    drop(store);
    tamper(folder.path(), "UPDATE contents SET data = CAST('gooe' AS BLOB)").await;
    let store = SqliteStore::open(folder.path()).await.unwrap();
    is_corrupt(store.read(&content("good")).await, &content("good").id.to_string());
}

/// A store with one dispatch that has something of everything, closed.
async fn with_everything(folder: &Path) {
    let store = SqliteStore::open(folder).await.unwrap();
    let changes = vec![
        node(1, Status::Failed, 1),
        node(2, Status::Completed, 1),
        small(of_node(2, AssetKey::Output), "output"),
        Change::Dispatch(dispatch_state(Status::Running)),
    ];
    let batch = [
        register_as("a", chain_with_assets("a", 3, &[])),
        set("a", 1, changes),
        register("sound", 2),
    ];
    store.commit(&batch).await.unwrap();
}

/// The dispatches of the list, but `name`, which may be too damaged to be shown.
async fn listed_without(store: &SqliteStore, name: &str) -> Vec<String> {
    let listed = store.summaries(&Query::default()).await.unwrap();
    let names = listed.iter().map(|summary| summary.dispatch_id.to_string());
    names.filter(|listed| listed != name).collect()
}

#[tokio::test]
async fn a_damaged_dispatch_is_reported_and_its_neighbour_is_not() {
    const OF_A: &str = "dispatch a";
    for damage in [
        "UPDATE plans SET graph = x'' WHERE dispatch = 1",
        "UPDATE plans SET graph = CAST(x'63' || substr(graph, 2) AS BLOB) WHERE dispatch = 1",
        "UPDATE plans SET graph = substr(graph, 1, length(graph) - 1) WHERE dispatch = 1",
        "UPDATE plans SET graph = CAST(graph || x'00' AS BLOB) WHERE dispatch = 1",
        "UPDATE plans SET executors = '[]' WHERE dispatch = 1",
        "UPDATE plans SET lattice = '{' WHERE dispatch = 1",
        "DELETE FROM plans WHERE dispatch = 1",
        "UPDATE nodes SET status = 77 WHERE node = 1",
        "UPDATE nodes SET status = 1 WHERE node = 1",
        "UPDATE nodes SET fault = 'moon' WHERE node = 1",
        "UPDATE nodes SET node = 99 WHERE node = 1",
        "UPDATE nodes SET failed_attempts = -1 WHERE node = 1",
        "UPDATE dispatches SET status = 10 WHERE id = 1",
        "UPDATE dispatches SET completed_node_count = 2 WHERE id = 1",
        "UPDATE dispatches SET node_count = 4 WHERE id = 1",
        "UPDATE dispatches SET root_id = '../a' WHERE id = 1",
        "UPDATE assets SET node = 99 WHERE node = 2",
        "UPDATE assets SET content = 99 WHERE node = 2",
        "UPDATE contents SET sha1 = x'00'",
    ] {
        let folder = tempfile::tempdir().unwrap();
        with_everything(folder.path()).await;
        tamper(folder.path(), damage).await;
        let store = SqliteStore::open(folder.path()).await.unwrap();
        match store.load(&id("a")).await {
            Err(Error::Corrupt { what, .. }) => assert_eq!(what, OF_A, "{damage}"),
            other => panic!("{damage}: {other:?}"),
        }
        is_corrupt(store.record(&id("a")).await, OF_A);
        // It can be shown as failed all the same, and is not tried again.
        assert_eq!(listed_without(&store, "a").await, ["sound"], "{damage}");
        let text = small(AssetAddress::of_dispatch(AssetKey::Error), "set aside");
        let failed = vec![Change::Dispatch(dispatch_state(Status::Failed)), text];
        store.commit(&[set("a", 3, failed)]).await.unwrap();
        assert!(store.unfinished().await.unwrap().is_empty(), "{damage}");
        store.load(&id("sound")).await.unwrap();
        store.record(&id("sound")).await.unwrap();
        store.commit(&[set("sound", 2, vec![node(0, Status::Running, 1)])]).await.unwrap();
    }
}

#[tokio::test]
async fn a_graph_that_is_none_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let mut registration = cov_store::conformance::fixtures::chain("a", 3);
    // The store trusts its caller at registration, and nobody at loading.
    registration.edges[0].source = cov_core::ids::NodeId(2);
    store.commit(&[register_as("a", registration), register("b", 1)]).await.unwrap();
    is_corrupt(store.load(&id("a")).await, "dispatch a");
    let both = Query::default();
    assert_eq!(store.count(&both).await.unwrap(), 2);
}
