//! Data directories of every schema there ever was, with what real dispatches left in them, are
//! brought up to date with nothing lost. `tests/upgrades/make_fixtures.py` makes them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use cov_core::status::Status;
use cov_store::conformance::fixtures::{id, register};
use cov_store::model::Query;
use cov_store::{AccessStore, Blob, Contents, SqliteStore, Store, TriggerStore};
use sqlx::{ConnectOptions, Connection};

/// The first schema with triggers.
const TRIGGERS: usize = 3;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The SQL files of a folder, in their order.
pub(crate) fn sql_files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(project().join(folder)).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "sql")).collect();
    files.sort();
    files
}

/// A data directory as a server of that schema left it.
pub(crate) async fn data_directory(fixture: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("dispatches.sqlite");
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(database).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    let statements = fs::read_to_string(fixture).unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    folder
}

/// Everything that is known of every dispatch, and the bytes of every content.
pub(crate) async fn everything(store: &SqliteStore) -> String {
    let query = Query { limit: 1_000, latest_first: false, ..Query::default() };
    let mut text = String::new();
    for summary in store.summaries(&query).await.unwrap() {
        let record = store.record(&summary.dispatch_id).await.unwrap();
        text.push_str(&format!("{summary:?}\n{record:?}\n"));
        let contents =
            record.assets.iter().chain(record.nodes.iter().flat_map(|node| &node.assets));
        for content in contents.filter_map(|(_, state)| state.content()) {
            let Blob::Small(bytes) = store.read(content).await.unwrap() else {
                panic!("the fixtures have small contents")
            };
            assert_eq!(bytes.len() as u64, content.size);
            text.push_str(&format!("{content:?}\n"));
        }
    }
    text
}

#[test]
fn every_schema_has_its_fixture() {
    let migrations = sql_files("crates/cov-store/migrations/sqlite").len();
    let fixtures = sql_files("tests/upgrades");
    let names: Vec<_> =
        fixtures.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    let expected: Vec<_> = (1..=migrations).map(|number| format!("schema_{number:04}")).collect();
    assert_eq!(names, expected, "run tests/upgrades/make_fixtures.py");
}

#[tokio::test]
async fn nothing_is_lost_from_any_schema() {
    let mut expected = None;
    for (place, fixture) in sql_files("tests/upgrades").iter().enumerate() {
        let folder = data_directory(fixture).await;
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let found = everything(&store).await;
        // All fixtures are of the same dispatches.
        let expected = expected.get_or_insert_with(|| found.clone());
        assert_eq!(&found, expected, "{}", fixture.display());
        for status in [Status::Completed, Status::Failed, Status::Running, Status::NewObject] {
            let query = Query { statuses: vec![status], limit: 10, ..Query::default() };
            assert!(store.count(&query).await.unwrap() > 0, "no dispatch is {status}");
        }
        assert!(!store.unfinished().await.unwrap().is_empty());
        let triggers = store.live_triggers().await.unwrap();
        assert_eq!(triggers.len(), usize::from(place + 1 >= TRIGGERS), "{}", fixture.display());
    }
}

/// A directory that was brought up to date is like any other.
#[tokio::test]
async fn what_was_brought_up_to_date_takes_new_things_and_opens_again() {
    for fixture in sql_files("tests/upgrades") {
        let folder = data_directory(&fixture).await;
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let before = everything(&store).await.lines().count();
        store.commit(&[register("new", 3)]).await.unwrap();
        drop(store);
        let store = SqliteStore::open(folder.path()).await.unwrap();
        assert_eq!(store.record(&id("new")).await.unwrap().nodes.len(), 3);
        assert!(everything(&store).await.lines().count() > before, "{}", fixture.display());
        assert_eq!(store.tokens().await.unwrap(), []);
    }
}

/// The names of the copies in a data directory.
fn copies(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("dispatches.schema")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_database_of_before_is_kept_as_it_was() {
    let fixtures = sql_files("tests/upgrades");
    let newest = fixtures.len();
    for (schema, fixture) in (1..).zip(&fixtures) {
        let folder = data_directory(fixture).await;
        // Beside what earlier upgrades have left.
        fs::write(folder.path().join("dispatches.schema-0.sqlite"), "older").unwrap();
        fs::write(folder.path().join("dispatches.schema--1.sqlite"), "older still").unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let expected = everything(&store).await;
        let copy = format!("dispatches.schema-{schema}.sqlite");
        if schema == newest {
            assert_eq!(copies(folder.path()).len(), 2, "nothing was to be done");
            continue;
        }
        assert_eq!(copies(folder.path()), ["dispatches.schema-0.sqlite", &copy]);
        drop(store);

        let copy = folder.path().join(copy);
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        let older = tempfile::tempdir().unwrap();
        fs::copy(copy, older.path().join("dispatches.sqlite")).unwrap();
        let reached = SqliteStore::schema(older.path()).await.unwrap();
        assert_eq!(reached.map(usize::try_from), Some(Ok(schema)));
        let store = SqliteStore::open(older.path()).await.unwrap();
        assert_eq!(everything(&store).await, expected);
    }
}

#[tokio::test]
async fn without_copies_nothing_is_copied_nor_removed() {
    let folder = data_directory(&sql_files("tests/upgrades").remove(0)).await;
    fs::write(folder.path().join("dispatches.schema-0.sqlite"), "older").unwrap();
    drop(SqliteStore::open_keeping(folder.path(), 0).await.unwrap());
    assert_eq!(copies(folder.path()), ["dispatches.schema-0.sqlite"]);
}

/// No copy, no upgrade.
#[tokio::test]
async fn a_database_that_cannot_be_copied_stays_as_it_was() {
    let folder = data_directory(&sql_files("tests/upgrades").remove(0)).await;
    let blocked = folder.path().join("dispatches.schema-1.sqlite");
    fs::create_dir(&blocked).unwrap();
    SqliteStore::open(folder.path()).await.unwrap_err();
    assert_eq!(SqliteStore::schema(folder.path()).await.unwrap(), Some(1));
    fs::remove_dir(blocked).unwrap();
    drop(SqliteStore::open(folder.path()).await.unwrap());
    assert_eq!(copies(folder.path()), ["dispatches.schema-1.sqlite"]);
}

/// A power cut in the middle of a step leaves the schema before it or the one after it.
#[tokio::test]
async fn a_step_that_fails_leaves_what_was_there() {
    let fixture = sql_files("tests/upgrades").remove(0);
    let folder = data_directory(&fixture).await;
    // Something stands where a later schema wants to put a table.
    crate::opening::beside(folder.path()).await.close().await.unwrap();
    let mut connection = crate::opening::beside(folder.path()).await;
    sqlx::query("CREATE TABLE trigger_marks (x INTEGER)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    SqliteStore::open(folder.path()).await.unwrap_err();

    let mut connection = crate::opening::beside(folder.path()).await;
    let tables = "SELECT name FROM sqlite_schema WHERE name IN ('triggers', 'trigger_settings')";
    let made: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
    assert_eq!(made, Vec::<String>::new(), "half a step was made");
    sqlx::query("DROP TABLE trigger_marks").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let store = SqliteStore::open(folder.path()).await.unwrap();
    assert_eq!(store.live_triggers().await.unwrap(), []);
}
