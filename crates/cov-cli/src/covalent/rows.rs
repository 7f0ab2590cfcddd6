//! What is asked of the database. Values come as text and numbers; what they mean is told
//! elsewhere.

use cov_core::status::Status;
use sqlx::sqlite::SqliteConnection;

use super::{Listed, names};

/// A dispatch and its lattice.
#[derive(Debug)]
pub(super) struct Lattice {
    pub(super) dispatch_id: String,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) executor: (Option<String>, Option<String>),
    pub(super) workflow_executor: (Option<String>, Option<String>),
    pub(super) python_version: Option<String>,
    pub(super) covalent_version: Option<String>,
    pub(super) created_at: String,
    pub(super) updated_at: String,
    pub(super) started_at: Option<String>,
    pub(super) completed_at: Option<String>,
}

/// A node: id, task group, name, state, executor, its attributes, begin, end.
pub(super) type Electron =
    (i64, i64, String, String, Option<String>, Option<String>, Option<String>, Option<String>);

/// An edge: source, target, name, kind of parameter, position.
pub(super) type Edge = (i64, i64, String, Option<String>, Option<i64>);

/// An asset: node, key, kind of storage, folder, path below it, bytes.
pub(super) type Asset = (Option<i64>, String, String, String, String, Option<i64>);

pub(super) async fn table_names(
    connection: &mut SqliteConnection,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'")
        .fetch_all(connection)
        .await
}

/// The oldest first.
pub(super) async fn lattices(
    connection: &mut SqliteConnection,
) -> Result<Vec<Listed>, sqlx::Error> {
    type Row = (i64, String, String, String, i64, Option<i64>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT l.id, CAST(l.dispatch_id AS TEXT), CAST(l.name AS TEXT), CAST(l.status AS TEXT), \
         CAST(l.is_active AS INTEGER), e.parent_lattice_id \
         FROM lattices l LEFT JOIN electrons e ON e.id = l.electron_id ORDER BY l.id",
    )
    .fetch_all(connection)
    .await?;
    let listed = |(id, dispatch_id, name, status, active, parent): Row| {
        let status: Result<Status, String> = names::status(&status);
        Listed { id, dispatch_id, name, status, is_deleted: active == 0, parent }
    };
    Ok(rows.into_iter().map(listed).collect())
}

pub(super) async fn lattice(
    connection: &mut SqliteConnection,
    id: i64,
) -> Result<Lattice, sqlx::Error> {
    type Row = (
        String,
        String,
        String,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<String>,
        String,
        String,
        Option<String>,
        Option<String>,
    );
    let row: Row = sqlx::query_as(
        "SELECT CAST(dispatch_id AS TEXT), CAST(name AS TEXT), CAST(status AS TEXT), executor, \
         executor_data, workflow_executor, workflow_executor_data, python_version, \
         covalent_version, CAST(created_at AS TEXT), CAST(updated_at AS TEXT), \
         CAST(started_at AS TEXT), CAST(completed_at AS TEXT) FROM lattices WHERE id = ?",
    )
    .bind(id)
    .fetch_one(connection)
    .await?;
    let (dispatch_id, name, status, executor, executor_data, ..) = row;
    let (.., workflow, workflow_data, python, covalent, created, updated, started, completed) = row;
    Ok(Lattice {
        dispatch_id,
        name,
        status,
        executor: (executor, executor_data),
        workflow_executor: (workflow, workflow_data),
        python_version: python,
        covalent_version: covalent,
        created_at: created,
        updated_at: updated,
        started_at: started,
        completed_at: completed,
    })
}

/// The dispatch and the node above a dispatch.
pub(super) async fn parent(
    connection: &mut SqliteConnection,
    id: i64,
) -> Result<Option<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT CAST(above.dispatch_id AS TEXT), e.transport_graph_node_id FROM lattices l \
         JOIN electrons e ON e.id = l.electron_id \
         JOIN lattices above ON above.id = e.parent_lattice_id WHERE l.id = ?",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// By node id.
pub(super) async fn electrons(
    connection: &mut SqliteConnection,
    id: i64,
) -> Result<Vec<Electron>, sqlx::Error> {
    sqlx::query_as(
        "SELECT transport_graph_node_id, task_group_id, CAST(name AS TEXT), \
         CAST(status AS TEXT), executor, executor_data, CAST(started_at AS TEXT), \
         CAST(completed_at AS TEXT) FROM electrons WHERE parent_lattice_id = ? \
         ORDER BY transport_graph_node_id",
    )
    .bind(id)
    .fetch_all(connection)
    .await
}

pub(super) async fn edges(
    connection: &mut SqliteConnection,
    id: i64,
) -> Result<Vec<Edge>, sqlx::Error> {
    sqlx::query_as(
        "SELECT source.transport_graph_node_id, target.transport_graph_node_id, d.edge_name, \
         CAST(d.parameter_type AS TEXT), d.arg_index FROM electrons target \
         JOIN electron_dependency d ON d.electron_id = target.id \
         JOIN electrons source ON source.id = d.parent_electron_id \
         WHERE target.parent_lattice_id = ? ORDER BY d.id",
    )
    .bind(id)
    .fetch_all(connection)
    .await
}

pub(super) async fn assets(
    connection: &mut SqliteConnection,
    id: i64,
) -> Result<Vec<Asset>, sqlx::Error> {
    sqlx::query_as(
        "SELECT NULL, CAST(l.key AS TEXT), a.storage_type, a.storage_path, a.object_key, a.size \
         FROM lattice_assets l JOIN assets a ON a.id = l.asset_id WHERE l.meta_id = ?1 \
         UNION ALL \
         SELECT e.transport_graph_node_id, CAST(l.key AS TEXT), a.storage_type, a.storage_path, \
         a.object_key, a.size FROM electrons e JOIN electron_assets l ON l.meta_id = e.id \
         JOIN assets a ON a.id = l.asset_id WHERE e.parent_lattice_id = ?1",
    )
    .bind(id)
    .fetch_all(connection)
    .await
}
