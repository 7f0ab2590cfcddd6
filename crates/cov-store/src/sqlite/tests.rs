//! Faults of SQLite itself, brought about through the writing connection.

use cov_core::asset::AssetKey;
use cov_core::status::Status;
use sqlx::ConnectOptions;

use super::SqliteStore;
use crate::conformance::fixtures::{id, node, of_node, register, set, small};
use crate::model::Query;
use crate::{Error, Store};

/// Runs `statement` on the connection that the next commit uses.
async fn on_writer(store: &SqliteStore, statement: &'static str) {
    let mut place = store.writer.lock().await;
    sqlx::query(statement).execute(place.as_mut().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_full_database_refuses_whole_commits_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    store.commit(&[register("a", 200)]).await.unwrap();
    // A limit of the connection; the one that failed is given up with it.
    on_writer(&store, "PRAGMA max_page_count = 1").await;
    let text = "x".repeat(30_000);
    let output = |index| small(of_node(index, AssetKey::Output), &format!("{text}{index}"));
    let mut changes: Vec<_> = (0..100).map(output).collect();
    changes.push(node(0, Status::Completed, 1));
    let batch = [set("a", 1, changes), register("b", 10)];
    let refused = store.commit(&batch).await.unwrap_err();
    assert!(matches!(refused, Error::Full(_)), "{refused:?}");
    let record = store.record(&id("a")).await.unwrap();
    assert_eq!(record.summary.completed_node_count, 0);
    assert!(record.nodes.iter().all(|node| node.assets.is_empty()));
    assert_eq!(store.count(&Query::default()).await.unwrap(), 1);

    store.commit(&batch).await.unwrap();
    assert_eq!(store.record(&id("a")).await.unwrap().summary.completed_node_count, 1);
    assert_eq!(store.count(&Query::default()).await.unwrap(), 2);
}

#[tokio::test]
async fn a_locked_database_is_unavailable_until_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    on_writer(&store, "PRAGMA busy_timeout = 1").await;
    let mut other = store.writing.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let refused = store.commit(&[register("a", 1)]).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
    // Reading goes on.
    assert_eq!(store.count(&Query::default()).await.unwrap(), 0);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    store.commit(&[register("a", 1)]).await.unwrap();
}

#[tokio::test]
async fn every_commit_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    // Also on a connection that takes the place of a lost one.
    for _ in 0..2 {
        store.commit(&[]).await.unwrap();
        let mut place = store.writer.lock().await;
        let connection = place.as_mut().unwrap();
        let mode: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await.unwrap();
        let synchronous: i64 =
            sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await.unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
        *place = None;
    }
}

#[tokio::test]
async fn a_closed_store_is_one_file_and_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    store.commit(&[register("a", 1)]).await.unwrap();
    store.record(&id("a")).await.unwrap();
    store.close().await;
    assert!(!folder.path().join("dispatches.sqlite-wal").exists());
    assert!(store.record(&id("a")).await.unwrap_err().is_transient());
    drop(store);
    SqliteStore::open(folder.path()).await.unwrap().record(&id("a")).await.unwrap();
}

#[tokio::test]
async fn lookups_by_digest_use_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    for (statement, index) in [
        (
            "EXPLAIN QUERY PLAN WITH wanted (sha1, size) AS (VALUES (x'00', 1), (x'01', 2)) \
             SELECT c.id FROM wanted CROSS JOIN contents c \
             ON c.sha1 = wanted.sha1 AND c.size = wanted.size",
            "contents_by_sha1 (sha1=? AND size=?)",
        ),
        (
            "EXPLAIN QUERY PLAN SELECT dispatch_id FROM dispatches WHERE parent_id = 'a'",
            "dispatches_by_parent (parent_id=?)",
        ),
        (
            "EXPLAIN QUERY PLAN SELECT id, number FROM contents WHERE (id) IN (VALUES (x'00'), (x'01'))",
            "(id=?)",
        ),
    ] {
        let rows: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(statement).fetch_all(&store.readers).await.unwrap();
        assert!(rows.iter().any(|(.., step)| step.contains(index)), "{rows:?}");
    }
}
