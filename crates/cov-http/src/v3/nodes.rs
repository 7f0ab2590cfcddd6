//! One node of a dispatch: its state, and for a failed one whose fault it was, what was raised,
//! and the end of what it printed.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use cov_core::asset::{AssetAddress, AssetKey, AssetState};
use cov_core::error::{ErrorCode, Fault};
use cov_core::executor::ExecutorSpec;
use cov_core::graph::NodeKind;
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::manifest::NAME_INLINE_BYTES_MAX;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_dispatcher::Handle;
use cov_dispatcher::store::model::NodeRecord;
use serde::Serialize;

use crate::App;
use crate::content::{BlobReader, size_of};
use crate::error::Refusal;
use crate::params::NodePath;

/// How much of the end of a text is shown. Bytes.
const TAIL_BYTES_MAX: u64 = 16 * 1024;

/// How many of the last lines of a log are shown.
const TAIL_LINES_MAX: usize = 40;

/// One node.
#[derive(Debug, Serialize)]
pub(super) struct Node {
    node_id: NodeId,
    /// At most 4 KiB of it.
    name: String,
    kind: NodeKind,
    status: Status,
    fault: Option<Fault>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    /// The latest attempt, as `epoch.number`.
    attempt: Option<String>,
    failed_attempts: u32,
    sub_dispatch_id: Option<DispatchId>,
    /// Short name of the executor.
    executor: String,
    /// The assets that are there, with their sizes in bytes.
    assets: Sizes,
}

/// Assets that are there, by key, with their sizes in bytes.
pub(super) type Sizes = BTreeMap<&'static str, u64>;

/// The sizes of those assets that are there.
pub(super) fn sizes(assets: &[(AssetAddress, AssetState)]) -> Sizes {
    let there = assets.iter().filter(|(_, state)| state.content().is_some());
    there.map(|(address, state)| (address.key.as_str(), state.stored_size())).collect()
}

impl Node {
    pub(super) fn of(node_id: NodeId, node: NodeRecord, executors: &[ExecutorSpec]) -> Self {
        let executor = executors.get(node.executor as usize);
        Self {
            node_id,
            name: shortened(node.name),
            kind: node.kind,
            status: node.state.status,
            fault: node.state.fault,
            started_at: node.state.started_at,
            ended_at: node.state.ended_at,
            attempt: node.state.attempt.as_ref().map(AttemptId::to_string),
            failed_attempts: node.state.failed_attempts,
            sub_dispatch_id: node.sub_dispatch,
            executor: executor.map(|spec| spec.name.clone()).unwrap_or_default(),
            assets: sizes(&node.assets),
        }
    }
}

/// A node with the address of its failure.
#[derive(Debug, Serialize)]
pub(super) struct NodeInFull {
    #[serde(flatten)]
    node: Node,
    /// There for failed nodes.
    failure: Option<Failure>,
}

/// Why a node failed.
#[derive(Debug, Serialize)]
struct Failure {
    /// Whose fault it was.
    fault: Option<Fault>,
    /// A traceback, or a sentence with the exit code or signal. The end of it, if it is long.
    message: String,
    /// The last lines that it printed.
    stdout_tail: Vec<String>,
    /// The last lines that it printed to its error stream.
    stderr_tail: Vec<String>,
}

/// Shows one node.
pub(super) async fn show(
    State(shared): App,
    NodePath { dispatch, node, .. }: NodePath,
) -> Result<Json<NodeInFull>, Refusal> {
    let mut record = shared.handle.record(&dispatch).await?;
    if node.index() >= record.nodes.len() {
        let said = format!("dispatch {dispatch} has no node {node}");
        return Err(Refusal::new(ErrorCode::NodeNotFound, said));
    }
    let stored = record.nodes.swap_remove(node.index());
    let shown = Node::of(node, stored, &record.executors);
    let failure = match shown.status {
        Status::Failed => Some(failure(&shared.handle, &dispatch, node, shown.fault).await?),
        _ => None,
    };
    Ok(Json(NodeInFull { node: shown, failure }))
}

async fn failure(
    handle: &Handle,
    dispatch: &DispatchId,
    node: NodeId,
    fault: Option<Fault>,
) -> Result<Failure, Refusal> {
    let text = async |key| tail(handle, dispatch, AssetAddress::of_node(node, key)).await;
    Ok(Failure {
        fault,
        message: text(AssetKey::Error).await?,
        stdout_tail: last_lines(&text(AssetKey::Stdout).await?),
        stderr_tail: last_lines(&text(AssetKey::Stderr).await?),
    })
}

/// The end of a text asset.
pub(super) async fn tail(
    handle: &Handle,
    dispatch: &DispatchId,
    address: AssetAddress,
) -> Result<String, Refusal> {
    let Some(blob) = handle.read_asset(dispatch, address).await? else {
        return Ok(String::new());
    };
    let size = size_of(&blob);
    let start = size.saturating_sub(TAIL_BYTES_MAX);
    let mut reader = BlobReader::new(blob, start, size - start);
    let mut bytes = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => {
                tracing::error!(error = %error, "a log cannot be read");
                return Err(Refusal::new(ErrorCode::StoreUnavailable, "a log cannot be read"));
            }
        }
    }
}

fn last_lines(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES_MAX);
    lines.into_iter().skip(from).map(str::to_owned).collect()
}

fn shortened(mut name: String) -> String {
    if name.len() > NAME_INLINE_BYTES_MAX {
        name.truncate(name.floor_char_boundary(NAME_INLINE_BYTES_MAX));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(shortened("ä".repeat(NAME_INLINE_BYTES_MAX)).len(), NAME_INLINE_BYTES_MAX);
        assert_eq!(shortened(format!("x{}", "ä".repeat(NAME_INLINE_BYTES_MAX))).len(), 4_095);
        assert_eq!(shortened("add".into()), "add");
    }

    #[test]
    fn logs_are_shown_by_their_last_lines() {
        let text: String = (0..100).map(|n| format!("{n}\n")).collect();
        let shown = last_lines(&text);
        assert_eq!((shown.len(), shown.last().unwrap().as_str()), (TAIL_LINES_MAX, "99"));
    }
}
