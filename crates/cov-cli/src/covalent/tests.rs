//! Databases made here, with what a real one does not have: faults.

use cov_core::graph::NodeKind;
use sqlx::Executor as _;

use super::*;

/// As much of Covalent's tables as is read.
const SCHEMA: &str = "
CREATE TABLE lattices (id INTEGER PRIMARY KEY, dispatch_id VARCHAR(64), electron_id INTEGER,
  name TEXT, status VARCHAR(24), executor TEXT, executor_data TEXT, workflow_executor TEXT,
  workflow_executor_data TEXT, is_active BOOLEAN, python_version TEXT, covalent_version TEXT,
  created_at DATETIME, updated_at DATETIME, started_at DATETIME, completed_at DATETIME);
CREATE TABLE electrons (id INTEGER PRIMARY KEY, parent_lattice_id INTEGER,
  transport_graph_node_id INTEGER, task_group_id INTEGER, name TEXT, status VARCHAR(24),
  executor TEXT, executor_data TEXT, started_at DATETIME, completed_at DATETIME);
CREATE TABLE electron_dependency (id INTEGER PRIMARY KEY, electron_id INTEGER,
  parent_electron_id INTEGER, edge_name TEXT, parameter_type VARCHAR(24), arg_index INTEGER);
CREATE TABLE assets (id INTEGER PRIMARY KEY, storage_type TEXT, storage_path TEXT,
  object_key TEXT, size INTEGER);
CREATE TABLE lattice_assets (id INTEGER PRIMARY KEY, meta_id INTEGER, asset_id INTEGER,
  key VARCHAR(24));
CREATE TABLE electron_assets (id INTEGER PRIMARY KEY, meta_id INTEGER, asset_id INTEGER,
  key VARCHAR(24));
INSERT INTO lattices VALUES (1, 'above', NULL, 'flow', 'COMPLETED', 'dask', '{\"a\": 1}', 'local',
  NULL, 1, '3.8.1', '0.240.0', '2024-01-31 12:00:00', '2024-01-31 12:00:05',
  '2024-01-31 12:00:01.25', '2024-01-31 12:00:04');
INSERT INTO electrons VALUES
  (10, 1, 0, 0, ':parameter:1', 'COMPLETED', 'dask', '{}', NULL, NULL),
  (11, 1, 1, 1, ':sublattice:below', 'COMPLETED', 'dask', '{}', '2024-01-31 12:00:02',
   '2024-01-31 12:00:03');
INSERT INTO electron_dependency VALUES (1, 11, 10, 'x', 'arg', 0);
";

struct Made {
    folder: tempfile::TempDir,
    database: Database,
}

/// A database with `more` in it.
async fn made(more: &str) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    for text in [SCHEMA, more] {
        connection.execute(sqlx::AssertSqlSafe(text.to_owned())).await.unwrap();
    }
    connection.close().await.unwrap();
    let results = Some(folder.path().to_owned());
    let database = Database::open(&path, results).await.unwrap();
    Made { folder, database }
}

impl Made {
    async fn take(&mut self, index: usize) -> Result<Taken, Error> {
        let listed = self.database.list().await.unwrap();
        self.database.take(&listed[index]).await
    }

    async fn refused(more: &str) -> String {
        made(more).await.take(0).await.unwrap_err().to_string()
    }
}

#[tokio::test]
async fn rows_become_a_workflow_and_its_outcome() {
    let taken = made("").await.take(0).await.unwrap();
    assert_eq!(taken.workflow.dispatch_id().as_str(), "above");
    let manifest = taken.workflow.manifest();
    assert_eq!(manifest.lattice.executor.data, serde_json::json!({ "a": 1 }));
    let kinds: Vec<_> = manifest.nodes.iter().map(|node| node.kind).collect();
    assert_eq!(kinds, [NodeKind::Parameter, NodeKind::Sublattice]);
    assert_eq!((manifest.executors.len(), manifest.edges.len()), (1, 1));
    let outcome = &taken.outcome;
    assert_eq!(outcome.registered_at.to_string(), "2024-01-31T12:00:00.000000");
    assert_eq!(outcome.started_at.unwrap().to_string(), "2024-01-31T12:00:01.250000");
    let named = cov_core::manifest::Manifest {
        dispatch_id: Some(taken.workflow.dispatch_id().clone()),
        ..manifest.clone()
    };
    assert_eq!(outcome.check(&named), Ok(()));
}

#[tokio::test]
async fn what_is_under_way_counts_as_lost() {
    let more = "UPDATE lattices SET status = 'RUNNING', completed_at = NULL;
        UPDATE electrons SET status = 'RUNNING', completed_at = NULL WHERE id = 11;
        UPDATE electrons SET status = 'PENDING_REUSE' WHERE id = 10;";
    let outcome = made(more).await.take(0).await.unwrap().outcome;
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(outcome.ended_at.to_string(), "2024-01-31T12:00:05.000000");
    let states: Vec<_> = outcome.nodes.iter().map(|node| (node.status, node.fault)).collect();
    let lost = Some(cov_core::error::Fault::Lost);
    assert_eq!(states, [(Status::NewObject, None), (Status::Failed, lost)]);
}

#[tokio::test]
async fn those_above_come_first_and_a_circle_is_no_end() {
    let more = "INSERT INTO lattices (id, dispatch_id, electron_id, name, status, is_active)
        VALUES (0, 'below', 11, 'b', 'COMPLETED', 1), (2, 'c', 20, 'c', 'ODD', 0);
        INSERT INTO electrons (id, parent_lattice_id) VALUES (20, 2);";
    let listed = made(more).await.database.list().await.unwrap();
    let ids: Vec<_> = listed.iter().map(|one| one.dispatch_id.as_str()).collect();
    assert_eq!(ids, ["above", "below", "c"]);
    assert_eq!((listed[1].parent, listed[2].parent), (Some(1), None));
    assert_eq!((listed[2].status.clone(), listed[2].is_deleted), (Err("ODD".to_owned()), true));
}

#[tokio::test]
async fn a_dispatch_that_makes_no_sense_is_told_by_what_is_wrong() {
    let cases = [
        ("UPDATE electrons SET transport_graph_node_id = 5 WHERE id = 11", "node 1 is missing"),
        ("UPDATE electron_dependency SET arg_index = NULL", "edge `x`"),
        ("UPDATE electron_dependency SET parent_electron_id = 11", "its graph"),
        ("UPDATE lattices SET created_at = 'yesterday'", "a time"),
        ("UPDATE electrons SET status = 'ODD' WHERE id = 10", "state of node 0"),
        ("UPDATE lattices SET executor_data = '{'", "an executor"),
        ("UPDATE lattices SET dispatch_id = '../x'", "its id"),
    ];
    for (more, expected) in cases {
        let said = Made::refused(more).await;
        assert!(said.contains(expected), "{more}: {said}");
    }
}

#[tokio::test]
async fn contents_are_read_named_or_missed() {
    let more = "INSERT INTO assets VALUES (1, 'file', '/nowhere', 'small', 5),
          (2, 'file', '/nowhere', 'large', 7), (3, 'file', '/nowhere', 'gone', 9),
          (4, 'file', '/nowhere', 'never', 0), (5, 's3', 'bucket', 'small', 5);
        INSERT INTO lattice_assets VALUES (1, 1, 1, 'doc'), (2, 1, 2, 'result'), (3, 1, 4, 'error'),
          (4, 1, 1, 'of_a_plugin');
        INSERT INTO electron_assets VALUES (1, 10, 1, 'value'), (2, 11, 3, 'output'),
          (3, 11, 5, 'stdout');";
    let mut made = made(more).await;
    std::fs::write(made.folder.path().join("small"), "small").unwrap();
    std::fs::write(made.folder.path().join("large"), vec![b'x'; 100_000]).unwrap();
    let taken = made.take(0).await.unwrap();
    let names: Vec<_> = taken.missing.iter().map(|path| path.file_name().unwrap()).collect();
    // What lies in a bucket is not there either.
    assert_eq!(names, ["gone", "small"]);
    let manifest = taken.workflow.manifest();
    let keys: Vec<_> = manifest.assets.iter().map(|asset| asset.address.to_string()).collect();
    assert_eq!(keys, ["doc", "node 0 value"]);
    assert_eq!(taken.workflow.file_count(), 1);
}

#[tokio::test]
async fn another_database_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let missing = Database::open(&path, None).await.unwrap_err();
    assert!(matches!(missing, Error::Open { .. }), "{missing}");
    std::fs::write(&path, "").unwrap();
    let empty = Database::open(&path, None).await.unwrap_err();
    assert!(matches!(empty, Error::Foreign { table: "lattices", .. }), "{empty}");
}

#[test]
fn the_default_is_where_covalent_keeps_it() {
    let with = |set: &'static [(&str, &str)]| {
        default_database(|name| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| PathBuf::from(value))
        })
    };
    let home = with(&[("HOME", "/h")]).unwrap();
    assert_eq!(home, Path::new("/h/.local/share/covalent/dispatcher_db.sqlite"));
    let shared = with(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")]).unwrap();
    assert_eq!(shared, Path::new("/d/covalent/dispatcher_db.sqlite"));
    assert_eq!(with(&[("COVALENT_DATABASE", "/x.sqlite")]).unwrap(), Path::new("/x.sqlite"));
    assert_eq!(with(&[]), None);
}
