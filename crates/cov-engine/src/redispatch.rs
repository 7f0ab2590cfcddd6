//! What a redispatch takes over from an earlier dispatch, and why. Two graphs are compared node
//! by node, from the top: a node whose name, value and edges are the same, and whose parents are
//! all the same, can be reused. Functions and executors are not compared, since the SDK's
//! contract does not; where they differ the plan warns.

use std::collections::{BTreeSet, VecDeque};

use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, EdgeKind, Graph, NodeKind};
use cov_core::ids::{NodeId, Sha1Digest};
use cov_core::status::Status;
use serde::{Deserialize, Serialize};

/// What is compared of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name, or another text that stands for the whole of a long one.
    pub name: String,
    /// The digest of its value, for parameters.
    pub value: Option<Sha1Digest>,
    /// The digest of its function's source, else of its function, for warnings only. The source
    /// is better: a client that builds a graph anew pickles the same function differently.
    pub function: Option<Sha1Digest>,
    /// Its executor, for warnings only.
    pub executor: ExecutorSpec,
    /// Its status: how it ended in the earlier dispatch, or how it was sent for the new one.
    pub status: Status,
}

/// One of the two dispatches.
#[derive(Debug, Clone)]
pub struct Side {
    /// Its graph.
    pub graph: Graph,
    /// Its nodes, by id.
    pub nodes: Vec<NodeFacts>,
}

/// What becomes of one node of the new dispatch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// The node.
    pub node_id: NodeId,
    /// Its name, shortened.
    pub name: String,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Because of what.
    pub reason: Reason,
    /// The parent that is not the same, where that is the reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream: Option<NodeId>,
    /// What differs and is no reason to the SDK's contract.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub warnings: Vec<Warning>,
}

/// What becomes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its earlier output is taken over; it does not run.
    Reused,
    /// It was there before, and runs again.
    RunAgain,
    /// The earlier dispatch had no such node.
    New,
}

/// Why a node runs again, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nothing that counts differs, and it was complete.
    Unchanged,
    /// Its electron was replaced, or another electron stands in its place.
    Code,
    /// Its value, or the way its arguments are passed, differs.
    Input,
    /// A node above it is not the same.
    Upstream,
    /// It is the same, but was not complete.
    EarlierStatus,
    /// It is the same, but nobody asked for results to be reused.
    NotAsked,
    /// The earlier dispatch had no node with this id.
    Added,
}

/// What differs although a node counts as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// Its function is another one, and it is a task. The earlier one runs, or its result stands.
    FunctionChanged,
    /// Its executor is another one.
    ExecutorChanged,
}

impl NodePlan {
    /// Whether the node counts as the same, so that its earlier contents are taken over.
    #[must_use]
    pub fn is_same(&self) -> bool {
        matches!(self.reason, Reason::Unchanged | Reason::EarlierStatus | Reason::NotAsked)
    }
}

/// Plans the redispatch of `earlier` as `new`, node by node of `new`.
#[must_use]
pub fn plan(earlier: &Side, new: &Side, reuse: bool) -> Vec<NodePlan> {
    let own: Vec<Option<Reason>> =
        new.graph.nodes().map(|node| own_difference(earlier, new, node)).collect();
    let mut differs_through: Vec<Option<NodeId>> = vec![None; own.len()];
    let mut reached: VecDeque<NodeId> =
        new.graph.nodes().filter(|node| reason_of(&own, *node).is_some()).collect();
    let mut tainted: BTreeSet<NodeId> = reached.iter().copied().collect();
    while let Some(node) = reached.pop_front() {
        for child in new.graph.children(node) {
            if tainted.insert(*child) {
                if let Some(through) = differs_through.get_mut(child.index()) {
                    *through = Some(node);
                }
                reached.push_back(*child);
            }
        }
    }
    new.graph
        .nodes()
        .map(|node| {
            let upstream = differs_through.get(node.index()).copied().flatten();
            verdict(earlier, new, node, reason_of(&own, node), upstream, reuse)
        })
        .collect()
}

fn reason_of(own: &[Option<Reason>], node: NodeId) -> Option<Reason> {
    own.get(node.index()).copied().flatten()
}

/// How the node itself differs, apart from what stands above it.
fn own_difference(earlier: &Side, new: &Side, node: NodeId) -> Option<Reason> {
    let after = new.nodes.get(node.index())?;
    let Some(before) = earlier.nodes.get(node.index()) else { return Some(Reason::Added) };
    let replaced = [before.status, after.status].contains(&Status::PendingReplacement);
    let renamed = before.name != after.name;
    // A parameter's name is the printed form of its value.
    let is_parameter = new.graph.kind(node) == NodeKind::Parameter;
    if replaced || (renamed && !is_parameter) {
        return Some(Reason::Code);
    }
    let same_input = !renamed
        && before.value == after.value
        && edges_into(&earlier.graph, node) == edges_into(&new.graph, node);
    (!same_input).then_some(Reason::Input)
}

fn edges_into(graph: &Graph, node: NodeId) -> BTreeSet<(NodeId, String, u8, u32)> {
    graph
        .edges_into(node)
        .map(|Edge { source, name, kind, .. }| match kind {
            EdgeKind::Arg(index) => (source, name, 0, index),
            EdgeKind::Kwarg => (source, name, 1, 0),
            EdgeKind::Wait => (source, name, 2, 0),
        })
        .collect()
}

fn verdict(
    earlier: &Side,
    new: &Side,
    node: NodeId,
    own: Option<Reason>,
    upstream: Option<NodeId>,
    reuse: bool,
) -> NodePlan {
    const NAME_CHARS_MAX: usize = 200;
    let before = earlier.nodes.get(node.index());
    let complete = before.is_some_and(|before| before.status == Status::Completed);
    let (verdict, reason) = match (own, upstream) {
        (Some(Reason::Added), _) => (Verdict::New, Reason::Added),
        (Some(reason), _) => (Verdict::RunAgain, reason),
        (None, Some(_)) => (Verdict::RunAgain, Reason::Upstream),
        (None, None) if !reuse => (Verdict::RunAgain, Reason::NotAsked),
        (None, None) if complete => (Verdict::Reused, Reason::Unchanged),
        (None, None) => (Verdict::RunAgain, Reason::EarlierStatus),
    };
    let after = new.nodes.get(node.index());
    let warnings = match (before, after, own) {
        (Some(before), Some(after), None) => warnings(before, after, new.graph.kind(node)),
        _ => Vec::new(),
    };
    let name = after.map(|after| after.name.chars().take(NAME_CHARS_MAX).collect());
    let upstream = if reason == Reason::Upstream { upstream } else { None };
    NodePlan { node_id: node, name: name.unwrap_or_default(), verdict, reason, upstream, warnings }
}

fn warnings(before: &NodeFacts, after: &NodeFacts, kind: NodeKind) -> Vec<Warning> {
    let mut warnings = Vec::new();
    // What the SDK adds to a graph is its own code, and its pickles never repeat.
    if kind == NodeKind::Task && before.function != after.function {
        warnings.push(Warning::FunctionChanged);
    }
    if before.executor != after.executor {
        warnings.push(Warning::ExecutorChanged);
    }
    warnings
}

#[cfg(test)]
mod tests;
