//! A process that is killed while it brings a large database up to date: the next one ends what it
//! has begun, and nothing is lost.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cov_core::status::Status;
use cov_store::model::Query;
use cov_store::{SqliteStore, Store};
use sqlx::Connection as _;
use tokio::time::Instant;

use crate::upgrades::{data_directory, everything, sql_files};

/// Names the data directory to the process that will be killed.
const FOLDER: &str = "COV_STORE_TEST_UPGRADE_FOLDER";

/// Workflows beside those of the fixture that were registered and whose uploads never came. The
/// second step makes an index over what they await.
const REGISTERED: i64 = 12_000;

/// How much of a step has been written when its process is killed. Bytes.
const STEP_BYTES: u64 = 1 << 20;

/// How long anything may take that does happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Gives the database many copies of the workflow that was not started.
async fn enlarge(folder: &Path) {
    let mut connection = crate::opening::beside(folder).await;
    for statement in [
        "CREATE TEMP TABLE many AS WITH RECURSIVE up (n) AS \
         (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < ?) SELECT n, n + 1000 AS copy FROM up",
        "CREATE TEMP TABLE source AS SELECT min(id) AS id FROM dispatches WHERE status = ?",
        "INSERT INTO dispatches SELECT copy, dispatch_id || n, dispatch_id || n, parent_id, \
         parent_node, name, status, cancel_requested, node_count, completed_node_count, \
         created_at + 86400000000, updated_at, started_at, ended_at \
         FROM many, dispatches WHERE id = (SELECT id FROM source)",
        "INSERT INTO plans SELECT copy, lattice, executors, graph FROM many, plans \
         WHERE dispatch = (SELECT id FROM source)",
        "INSERT INTO assets SELECT copy, node, key, NULL, contents.size, contents.sha1 \
         FROM many, assets, contents \
         WHERE dispatch = (SELECT id FROM source) AND number = content",
    ] {
        let query = sqlx::query(statement);
        let query = match statement {
            many if many.starts_with("CREATE TEMP TABLE many") => query.bind(REGISTERED),
            source if source.contains("status = ?") => query.bind(Status::NewObject.code()),
            _ => query,
        };
        query.execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// What the process is at when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Copying,
    Copied,
    InAStep,
}

impl Moment {
    fn has_come(self, folder: &Path) -> bool {
        let size = |name: &str| fs::metadata(folder.join(name)).map_or(0, |found| found.len());
        match self {
            Self::Copying => size("dispatches.schema.new") > 0,
            Self::Copied => size("dispatches.schema-1.sqlite") > 0,
            Self::InAStep => {
                Self::Copied.has_come(folder) && size("dispatches.sqlite-wal") > STEP_BYTES
            }
        }
    }
}

/// Runs this test as another process, and kills it at that moment.
fn kill_at(folder: &Path, moment: Moment) {
    let name = "upgrade_killed::a_killed_upgrade_is_ended_by_the_next_start";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while !moment.has_come(folder) {
        assert!(child.try_wait().unwrap().is_none(), "{moment:?} was not seen");
        assert!(begin.elapsed() < PATIENCE, "{moment:?} does not come");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success(), "it had ended before it was killed");
}

#[tokio::test]
async fn a_killed_upgrade_is_ended_by_the_next_start() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        drop(SqliteStore::open(folder).await.unwrap());
        return;
    }
    let fixtures = sql_files("tests/upgrades");
    let newest = i64::try_from(fixtures.len()).unwrap();
    let all = Query::default();
    let (expected, originals) = {
        let folder = data_directory(&fixtures[0]).await;
        let store = SqliteStore::open(folder.path()).await.unwrap();
        (everything(&store).await, store.count(&all).await.unwrap())
    };
    let folder = data_directory(&fixtures[0]).await;
    enlarge(folder.path()).await;
    let copied = folder.path().join("dispatches.schema-1.sqlite");
    for moment in [Moment::Copying, Moment::Copied, Moment::InAStep] {
        drop(fs::remove_file(&copied));
        kill_at(folder.path(), moment);
        let reached = SqliteStore::schema(folder.path()).await.unwrap().unwrap();
        assert!(reached < newest, "{moment:?} came after the last step");
    }
    let store = SqliteStore::open(folder.path()).await.unwrap();
    let count = store.count(&all).await.unwrap();
    assert_eq!(count, originals + u64::try_from(REGISTERED).unwrap());
    // The oldest come first.
    let found = everything(&store).await;
    expected.lines().zip(found.lines()).for_each(|(expected, found)| assert_eq!(found, expected));
    assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
    assert!(!folder.path().join("dispatches.schema.new").exists());
    drop(store);
    // The way back is whole too.
    let older = tempfile::tempdir().unwrap();
    fs::rename(copied, older.path().join("dispatches.sqlite")).unwrap();
    assert_eq!(SqliteStore::schema(older.path()).await.unwrap(), Some(1));
    let store = SqliteStore::open(older.path()).await.unwrap();
    assert_eq!(store.count(&all).await.unwrap(), count);
}
