//! Who may open a data directory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use cov_store::conformance::fixtures::{id, register};
use cov_store::{AccessStore, Error, SqliteStore, Store, TriggerStore};
use sqlx::{ConnectOptions, Connection};

/// A connection to the database of `folder`, beside the store.
pub(crate) async fn beside(folder: &std::path::Path) -> sqlx::SqliteConnection {
    let database = folder.join("dispatches.sqlite");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    options.connect().await.unwrap()
}

/// Runs `statement` on a database that no store has open.
pub(crate) async fn tamper(folder: &std::path::Path, statement: &'static str) {
    let mut connection = beside(folder).await;
    let done = sqlx::query(statement).execute(&mut connection).await.unwrap();
    assert!(done.rows_affected() > 0, "{statement} changed nothing");
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_second_server_is_refused_and_told_who_is_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let refused = SqliteStore::open(folder.path()).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(_)), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    assert!(text.contains(&*folder.path().to_string_lossy()), "{text}");
    store.commit(&[register("a", 1)]).await.unwrap();
    drop(store);
    SqliteStore::open(folder.path()).await.unwrap();
}

/// The database holds the key of signed addresses and the hashes of tokens.
#[tokio::test]
async fn other_users_cannot_read_the_database_wherever_it_stands() {
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let names = ["dispatches.sqlite", "dispatches.sqlite-wal", "dispatches.sqlite-shm"];
    let files = names.map(|name| folder.path().join(name));
    let store = SqliteStore::open(folder.path()).await.unwrap();
    store.commit(&[register("a", 1)]).await.unwrap();
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    assert_eq!(mode(&folder.path().join("contents")), 0o700);
    drop(store);
    // One that an earlier release has made; the group may be that of whoever makes backups.
    fs::set_permissions(&files[0], fs::Permissions::from_mode(0o644)).unwrap();
    let _store = SqliteStore::open(folder.path()).await.unwrap();
    assert_eq!(mode(&files[0]), 0o640);
}

#[tokio::test]
async fn a_newer_schema_and_a_changed_one_are_refused() {
    for statement in [
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'of the future', 1, x'00', 1)",
        "UPDATE _sqlx_migrations SET checksum = x'00'",
    ] {
        let folder = tempfile::tempdir().unwrap();
        drop(SqliteStore::open(folder.path()).await.unwrap());
        tamper(folder.path(), statement).await;
        let refused = SqliteStore::open(folder.path()).await.unwrap_err();
        assert!(matches!(refused, Error::Schema(_)), "{refused:?}");
        assert!(refused.to_string().contains("schema"), "{refused}");
    }
}

#[tokio::test]
async fn what_is_no_database_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let text = "not a database, but somebody's file\n".repeat(100);
    fs::write(folder.path().join("dispatches.sqlite"), &text).unwrap();
    let refused = SqliteStore::open(folder.path()).await.unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused:?}");
    assert_eq!(fs::read_to_string(folder.path().join("dispatches.sqlite")).unwrap(), text);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_unavailable() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = SqliteStore::open(file.path().join("data")).await.unwrap_err();
    assert!(refused.is_transient(), "{refused:?}");
}

#[tokio::test]
async fn what_was_coming_in_is_gone_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteStore::open(folder.path()).await.unwrap());
    let left = folder.path().join("contents/incoming/7");
    fs::write(&left, "half of an upload").unwrap();
    drop(SqliteStore::open(folder.path()).await.unwrap());
    assert!(!left.exists());
}

/// A death while the database is made costs nothing but making it again.
#[tokio::test]
async fn a_half_made_database_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal", "-journal"] {
        fs::write(folder.path().join(format!("dispatches.sqlite.new{suffix}")), "half").unwrap();
    }
    let store = SqliteStore::open(folder.path()).await.unwrap();
    store.commit(&[register("a", 1)]).await.unwrap();
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains(".new")));
}

/// A data directory of the schema before triggers is taken over with everything in it.
#[tokio::test]
async fn an_older_schema_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    store.commit(&[register("a", 3)]).await.unwrap();
    drop(store);
    let mut connection = beside(folder.path()).await;
    for statement in [
        "DROP TABLE trigger_payloads",
        "DROP TABLE trigger_firings",
        "DROP TABLE trigger_marks",
        "DROP TABLE trigger_settings",
        "DROP TABLE triggers",
        "DROP TABLE tokens",
        "DROP TABLE server_keys",
        "DROP TABLE audit",
        "DROP TRIGGER dispatches_added",
        "DROP TRIGGER dispatches_removed",
        "DROP TRIGGER dispatches_moved",
        "DROP TABLE dispatch_totals",
        "DROP INDEX dispatches_by_age",
        "DROP INDEX dispatches_by_name",
        "DROP INDEX dispatches_by_status",
        "CREATE INDEX dispatches_by_status ON dispatches (status)",
        "DELETE FROM _sqlx_migrations WHERE version > 2",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    let tables = "SELECT name FROM sqlite_schema WHERE name LIKE 'trigger%'";
    let left: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
    assert_eq!(left, Vec::<String>::new(), "the old schema knows nothing of triggers");
    connection.close().await.unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    assert_eq!(store.record(&id("a")).await.unwrap().nodes.len(), 3);
    assert_eq!(store.live_triggers().await.unwrap(), []);
    assert_eq!(store.tokens().await.unwrap(), []);
}
