//! Reading a whole dispatch, as of one moment. Each part passes its check before it is handed
//! out; what does not pass is reported as corrupt and left as it is.

use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::graph::{Edge, Graph, NodeKind};
use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::rows::{
    DispatchColumns, DispatchRow, EncodedPlan, NO_NODE, NodeColumns, PackedAssets, Plan,
    decode_plan, packed_assets, read_dispatch, read_id, read_node_state, read_u32,
};
use crate::Error;
use crate::fault::{corrupt, from_sql};
use crate::model::{DispatchRecord, Functions, NodeRecord, NodeState, StoredDispatch, StoredNode};

/// Nodes whose assets one statement reads.
const NODES_A_STATEMENT: i64 = 8192;

/// A dispatch as read in one transaction, every reference in it checked.
struct Whole<'a> {
    head: DispatchRow,
    plan: Plan<'a>,
    states: Vec<NodeState>,
    children: Vec<(NodeId, DispatchId)>,
    assets: PackedAssets,
}

/// The rows of [`Whole`] as they come, so that reading them can be left to another thread.
struct Rows {
    plan: EncodedPlan,
    parts: Parts,
}

/// The rows beside its row of `plans`, whose names are not copied.
struct Parts {
    head: DispatchColumns,
    nodes: Vec<NodeColumns>,
    children: Vec<(i64, String)>,
    assets: PackedAssets,
}

impl SqliteStore {
    pub(super) async fn load_dispatch(
        &self,
        dispatch: &DispatchId,
    ) -> Result<StoredDispatch, Error> {
        let rows = self.read_rows(dispatch, Scope::Owner).await?;
        let name = dispatch.clone();
        let checking = tokio::task::spawn_blocking(move || {
            let Rows { plan, parts } = rows;
            check(&plan, parts)
                .and_then(stored)
                .map_err(|reason| corrupt(format!("dispatch {name}"), reason))
        });
        crate::fault::flatten(checking.await)
    }

    pub(super) async fn load_record(&self, dispatch: &DispatchId) -> Result<DispatchRecord, Error> {
        let rows = self.read_rows(dispatch, Scope::Everything).await?;
        let name = dispatch.clone();
        let checking = tokio::task::spawn_blocking(move || {
            let Rows { plan, parts } = rows;
            check(&plan, parts)
                .and_then(record)
                .map_err(|reason| corrupt(format!("dispatch {name}"), reason))
        });
        crate::fault::flatten(checking.await)
    }

    async fn read_rows(&self, dispatch: &DispatchId, scope: Scope) -> Result<Rows, Error> {
        let mut snapshot = self.readers.begin().await.map_err(from_sql)?;
        let rows = read_all(&mut snapshot, dispatch, scope).await;
        // Nothing was written; this only gives the connection back at once.
        snapshot.rollback().await.map_err(from_sql)?;
        rows
    }
}

/// Which assets are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Those that the owner of a running dispatch needs.
    Owner,
    Everything,
}

async fn read_all(
    connection: &mut SqliteConnection,
    dispatch: &DispatchId,
    scope: Scope,
) -> Result<Rows, Error> {
    let id: Option<i64> = sqlx::query_scalar("SELECT id FROM dispatches WHERE dispatch_id = ?")
        .bind(dispatch.as_str())
        .fetch_optional(&mut *connection)
        .await
        .map_err(from_sql)?;
    let Some(id) = id else {
        return Err(Error::NotFound { dispatch: dispatch.clone() });
    };
    let head = sqlx::query_as(
        "SELECT dispatch_id, root_id, parent_id, parent_node, name, status, cancel_requested, \
         node_count, completed_node_count, created_at, updated_at, started_at, ended_at \
         FROM dispatches WHERE id = ?",
    );
    let head: DispatchColumns =
        head.bind(id).fetch_one(&mut *connection).await.map_err(from_sql)?;
    let plan = sqlx::query_as("SELECT lattice, executors, graph FROM plans WHERE dispatch = ?");
    let plan: Option<(String, String, Vec<u8>)> =
        plan.bind(id).fetch_optional(&mut *connection).await.map_err(from_sql)?;
    let (lattice, executors, graph) =
        plan.ok_or_else(|| corrupt(format!("dispatch {dispatch}"), "its graph is gone"))?;
    let nodes = sqlx::query_as(
        "SELECT node, status, cancel_requested, failed_attempts, attempt, fault, started_at, \
         ended_at FROM nodes WHERE dispatch = ? ORDER BY node",
    );
    let nodes = nodes.bind(id).fetch_all(&mut *connection).await.map_err(from_sql)?;
    let children = sqlx::query_as(
        "SELECT parent_node, dispatch_id FROM dispatches WHERE parent_id = ? ORDER BY parent_node",
    );
    let children =
        children.bind(dispatch.as_str()).fetch_all(&mut *connection).await.map_err(from_sql)?;
    let node_count = head.7;
    let assets = read_assets(connection, id, node_count, scope).await?;
    let plan = EncodedPlan { lattice, executors, graph };
    Ok(Rows { plan, parts: Parts { head, nodes, children, assets } })
}

/// Statement by statement, so that none keeps the connection for long.
async fn read_assets(
    connection: &mut SqliteConnection,
    id: i64,
    node_count: i64,
    scope: Scope,
) -> Result<PackedAssets, Error> {
    // Rows are found in the order of the primary key.
    let statement = match scope {
        Scope::Everything => concat!(
            "SELECT ",
            packed_assets!(),
            " FROM assets a LEFT JOIN contents c ON c.number = a.content \
             WHERE a.dispatch = ?1 AND a.node > ?2 AND a.node <= ?3"
        ),
        Scope::Owner => concat!(
            "SELECT ",
            packed_assets!(),
            " FROM assets a LEFT JOIN contents c ON c.number = a.content \
             WHERE a.dispatch = ?1 AND a.node > ?2 AND a.node <= ?3 \
             AND a.key IN (?4, ?5, ?6, ?7) AND a.content IS NOT NULL"
        ),
    };
    let mut assets = PackedAssets::default();
    let mut after = match scope {
        Scope::Everything => NO_NODE - 1,
        Scope::Owner => NO_NODE,
    };
    loop {
        let is_last = after + NODES_A_STATEMENT >= node_count;
        // Assets of nodes that do not exist are found, too.
        let until = if is_last { i64::MAX } else { after + NODES_A_STATEMENT };
        let mut wanted = sqlx::query_scalar(statement).bind(id).bind(after).bind(until);
        if scope == Scope::Owner {
            let keys = [AssetKey::Function, AssetKey::Hooks, AssetKey::Output, AssetKey::Job];
            wanted = keys.iter().fold(wanted, |wanted, key| wanted.bind(i64::from(key.code())));
        }
        assets.push(wanted.fetch_one(&mut *connection).await.map_err(from_sql)?);
        if is_last {
            return Ok(assets);
        }
        after = until;
    }
}

fn check(plan: &EncodedPlan, rows: Parts) -> Result<Whole<'_>, String> {
    let head = read_dispatch(rows.head).map_err(|error| error.to_string())?;
    let plan = decode_plan(plan)?;
    let count = plan.nodes.len();
    if head.summary.node_count as usize != count {
        return Err(format!("its graph has {count} of {} nodes", head.summary.node_count));
    }
    let executors = plan.executors.len();
    if let Some(node) = plan.nodes.iter().find(|node| node.executor as usize >= executors) {
        return Err(format!("a node names executor {} of {executors}", node.executor));
    }
    let within = |node: NodeId| match node.index() < count {
        true => Ok(node),
        false => Err(format!("node {node} does not exist")),
    };
    let mut states = vec![NodeState::default(); count];
    for columns in rows.nodes {
        let (node, state) = read_node_state(columns)?;
        *states.get_mut(within(node)?.index()).ok_or("a node does not exist")? = state;
    }
    let completed = states.iter().filter(|state| state.status == Status::Completed).count();
    if head.summary.completed_node_count as usize != completed {
        let counted = head.summary.completed_node_count;
        return Err(format!("it counts {counted} completed nodes and has {completed}"));
    }
    let children = rows
        .children
        .into_iter()
        .map(|(node, child)| Ok((within(NodeId(read_u32(node)?))?, read_id(&child)?)));
    let children = children.collect::<Result<_, String>>()?;
    Ok(Whole { head, plan, states, children, assets: rows.assets })
}

fn stored(whole: Whole<'_>) -> Result<StoredDispatch, String> {
    let Whole { head, plan, states, children, assets } = whole;
    let kinds: Vec<NodeKind> = plan.nodes.iter().map(|node| node.kind).collect();
    let graph = Graph::new(&kinds, &plan.edges).map_err(|error| error.to_string())?;
    // The largest parts are let go as soon as they were used.
    drop(plan.edges);
    let state = head.state();
    let parent = head.summary.parent_dispatch_id.zip(head.parent_node);
    let mut nodes: Vec<StoredNode> = plan
        .nodes
        .into_iter()
        .zip(states)
        .map(|(node, state)| StoredNode::new(node.executor, state))
        .collect();
    for (node, child) in children {
        if let Some(node) = nodes.get_mut(node.index()) {
            node.sub_dispatch = Some(child);
        }
    }
    let mut functions = Functions::default();
    for asset in assets.into_assets() {
        let (AssetAddress { node, key }, state) = asset?;
        let (Some(node), Some(content)) = (node, state.content()) else { continue };
        of_node(&mut nodes, node)?.contents.set(key, *content, &mut functions);
    }
    Ok(StoredDispatch {
        dispatch: head.summary.dispatch_id,
        root: head.summary.root_dispatch_id,
        parent,
        state,
        graph,
        executors: plan.executors,
        nodes,
    })
}

fn record(whole: Whole<'_>) -> Result<DispatchRecord, String> {
    let Whole { head, plan, states, children, assets } = whole;
    let edges: Vec<Edge> = plan.edges;
    let mut nodes: Vec<NodeRecord> = plan
        .nodes
        .into_iter()
        .zip(states)
        .map(|(node, state)| NodeRecord {
            name: node.name.to_owned(),
            kind: node.kind,
            task_group: node.task_group,
            executor: node.executor,
            state,
            sub_dispatch: None,
            assets: Vec::new(),
        })
        .collect();
    for (node, child) in children {
        if let Some(node) = nodes.get_mut(node.index()) {
            node.sub_dispatch = Some(child);
        }
    }
    let mut of_dispatch = Vec::new();
    for asset in assets.into_assets() {
        let (address, state) = asset?;
        match address.node {
            Some(node) => of_node(&mut nodes, node)?.assets.push((address, state)),
            None => of_dispatch.push((address, state)),
        }
    }
    Ok(DispatchRecord {
        summary: head.summary,
        lattice: plan.lattice,
        executors: plan.executors,
        nodes,
        edges,
        assets: of_dispatch,
    })
}

fn of_node<T>(nodes: &mut [T], node: NodeId) -> Result<&mut T, String> {
    nodes.get_mut(node.index()).ok_or_else(|| format!("node {node} does not exist"))
}
