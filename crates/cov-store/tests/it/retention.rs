//! What a death in the middle of a purge, or of an upload, has left on disk.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use cov_core::asset::AssetKey;
use cov_core::status::Status;
use cov_store::conformance::fixtures::{
    LARGE, asset, at, bytes, content, dispatch_state, id, node, of_node, register, set, small,
    write,
};
use cov_store::model::{Change, PurgeQuery, Purged};
use cov_store::{Blob, Contents, Error, SqliteStore, Store};

use super::opening::{beside, tamper};

fn all() -> PurgeQuery {
    PurgeQuery { ended_before: at(1_000), statuses: Vec::new(), dry_run: false }
}

#[tokio::test]
async fn a_purge_goes_on_where_a_death_has_ended_another() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let changes = vec![
        node(0, Status::Completed, 1),
        small(of_node(0, AssetKey::Output), "left"),
        Change::Dispatch(dispatch_state(Status::Completed)),
    ];
    store.commit(&[register("a", 2), set("a", 1, changes)]).await.unwrap();
    drop(store);
    tamper(folder.path(), "DELETE FROM dispatches").await;
    let store = SqliteStore::open(folder.path()).await.unwrap();
    // The row number of what is left is not given to another.
    store.commit(&[register("b", 2)]).await.unwrap();
    assert_eq!(store.asset(&id("b"), of_node(0, AssetKey::Output)).await.unwrap(), None);
    let purged = store.purge(&all()).await.unwrap();
    assert_eq!(purged, Purged { dispatches: 0, contents: 1, bytes: 4 });
    assert!(!store.holds(&content("left").id).await.unwrap());
    let mut connection = beside(folder.path()).await;
    for (table, rows) in [("plans", 1), ("nodes", 0), ("assets", 0), ("contents", 0)] {
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let found: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap();
        assert_eq!(found, rows, "{table}");
    }
    store.load(&id("b")).await.unwrap();
}

#[tokio::test]
async fn files_without_a_row_go_when_they_are_old() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let kept = write(&store, &bytes(1, LARGE), LARGE).await;
    let orphan = write(&store, &bytes(2, LARGE), LARGE).await;
    let young = write(&store, &bytes(3, LARGE), LARGE).await;
    let change = asset(of_node(0, AssetKey::Output), &kept);
    store.commit(&[register("a", 1), set("a", 1, vec![change])]).await.unwrap();
    for staged in [&kept, &orphan] {
        let Blob::File { path, .. } = store.read(&staged.content).await.unwrap() else {
            panic!("a large content is a file");
        };
        #[expect(clippy::disallowed_methods, reason = "the age of a file is told by this clock")]
        let old = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
        File::open(path).unwrap().set_modified(old).unwrap();
    }
    assert_eq!(store.purge(&all()).await.unwrap(), Purged::default(), "they may be on their way");
    drop(store);
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let purged = store.purge(&all()).await.unwrap();
    assert_eq!(purged, Purged { dispatches: 0, contents: 0, bytes: LARGE as u64 });
    assert!(!store.holds(&orphan.content.id).await.unwrap());
    for staged in [kept, young] {
        store.read(&staged.content).await.unwrap();
    }
}

#[tokio::test]
async fn a_staged_content_whose_file_went_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let staged = write(&store, &bytes(1, LARGE), LARGE).await;
    let Blob::File { path, .. } = store.read(&staged.content).await.unwrap() else {
        panic!("a large content is a file");
    };
    fs::remove_file(path).unwrap();
    let change = asset(of_node(0, AssetKey::Output), &staged);
    let refused = store.commit(&[register("a", 1), set("a", 1, vec![change])]).await.unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused:?}");
    assert!(matches!(store.record(&id("a")).await, Err(Error::NotFound { .. })));
}
