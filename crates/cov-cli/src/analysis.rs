//! What the times of a dispatch say: how long each node waited and ran, and the chain of nodes
//! that decided how long all of it took. Pure.

use std::time::Duration;

use cov_client::{Dispatch, Node};
use cov_core::graph::{Edge, NodeKind};
use cov_core::status::Status;
use cov_core::time::Timestamp;

/// How long one node waited and ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Timing {
    /// When all that it waits for was there.
    pub(crate) ready: Option<Timestamp>,
    /// From then until it was handed to its executor for the last time, earlier attempts included.
    pub(crate) queued: Option<Duration>,
    /// How long its last attempt took, or has been at work.
    pub(crate) ran: Option<Duration>,
}

/// A dispatch and what can be computed of it.
#[derive(Debug)]
pub(crate) struct Analysis {
    /// By node id.
    pub(crate) timings: Vec<Timing>,
    /// What each node waits for, each once, ascending.
    pub(crate) parents: Vec<Vec<usize>>,
    /// The nodes, each behind all that it waits for.
    pub(crate) order: Vec<usize>,
    /// The chain of nodes that decided when the dispatch ended, first to last. Parameters are left
    /// out.
    pub(crate) critical: Vec<usize>,
}

/// Computes it all, as of `now`.
pub(crate) fn analyse(dispatch: &Dispatch, edges: &[Edge], now: Timestamp) -> Analysis {
    let count = dispatch.nodes.len();
    let mut parents = vec![Vec::new(); count];
    let mut children = vec![Vec::new(); count];
    for edge in edges {
        let (source, target) = (edge.source.index(), edge.target.index());
        if source < count && target < count {
            parents[target].push(source);
            children[source].push(target);
        }
    }
    for neighbours in parents.iter_mut().chain(&mut children) {
        neighbours.sort_unstable();
        neighbours.dedup();
    }
    let order = in_order(&parents, &children);
    let begin = dispatch.summary.started_at.unwrap_or(dispatch.summary.created_at);
    let is_over = dispatch.summary.status.is_terminal();
    let timing = |(index, node): (usize, &Node)| {
        let ready = ready(&dispatch.nodes, &parents[index], begin);
        timing_of(node, ready, is_over, now)
    };
    let timings = dispatch.nodes.iter().enumerate().map(timing).collect();
    let critical = critical(&dispatch.nodes, &parents, now);
    Analysis { timings, parents, order, critical }
}

/// Kahn's order, smallest ids first as far as that goes.
fn in_order(parents: &[Vec<usize>], children: &[Vec<usize>]) -> Vec<usize> {
    let mut waits_for: Vec<usize> = parents.iter().map(Vec::len).collect();
    let mut reached: Vec<usize> = (0..parents.len()).filter(|node| waits_for[*node] == 0).collect();
    let mut next = 0;
    while let Some(node) = reached.get(next).copied() {
        next += 1;
        for child in &children[node] {
            waits_for[*child] -= 1;
            if waits_for[*child] == 0 {
                reached.push(*child);
            }
        }
    }
    reached
}

/// When the last of the parents was complete; nothing as long as one is not.
fn ready(nodes: &[Node], parents: &[usize], begin: Timestamp) -> Option<Timestamp> {
    let above = parents.iter().filter_map(|parent| nodes.get(*parent));
    let mut latest = begin;
    for node in above {
        if node.status != Status::Completed {
            return None;
        }
        latest = latest.max(node.ended_at.unwrap_or(begin));
    }
    Some(latest)
}

fn timing_of(node: &Node, ready: Option<Timestamp>, is_over: bool, now: Timestamp) -> Timing {
    if node.kind == NodeKind::Parameter {
        return Timing::default();
    }
    let until = match (node.started_at, node.ended_at) {
        (Some(started), _) => Some(started),
        // Taken over, or ended before it began.
        (None, Some(_)) => None,
        (None, None) => (!is_over).then_some(now),
    };
    let queued = ready.zip(until).map(|(ready, until)| until.since(ready));
    let end = node.ended_at.or((!is_over).then_some(now));
    let ran = node.started_at.zip(end).map(|(started, end)| end.since(started));
    Timing { ready, queued, ran }
}

/// From the node that ended last, always to the one above it that ended last.
fn critical(nodes: &[Node], parents: &[Vec<usize>], now: Timestamp) -> Vec<usize> {
    let end = |index: &usize| {
        let node = &nodes[*index];
        node.ended_at.or(node.started_at.map(|_| now))
    };
    let runs = |index: &usize| nodes[*index].kind != NodeKind::Parameter && end(index).is_some();
    // Of several that ended at once, the one with the highest id: it stands behind the others.
    let mut next = (0..nodes.len()).filter(runs).max_by_key(end);
    let mut path = Vec::new();
    while let Some(node) = next {
        path.push(node);
        next = parents[node].iter().copied().filter(runs).max_by_key(end);
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::samples;

    #[test]
    fn waits_and_runs_are_told_apart_and_the_slowest_chain_is_found() {
        let (dispatch, edges) = samples::etl();
        let analysis = analyse(&dispatch, &edges, samples::now());
        assert_eq!(analysis.parents[4], [2, 3]);
        assert_eq!(analysis.critical, [1, 3, 4, 5]);
        assert_eq!(analysis.order.len(), dispatch.nodes.len());
        let seconds = |time: Option<Duration>| time.map(|time| time.as_millis());
        let timing = analysis.timings[3];
        assert_eq!((seconds(timing.queued), seconds(timing.ran)), (Some(4_000), Some(6_000)));
        assert_eq!(analysis.timings[0], Timing::default());
    }

    #[test]
    fn what_has_not_begun_waits_until_now_and_not_at_all_when_all_is_over() {
        let (mut dispatch, edges) = samples::etl();
        dispatch.summary.status = Status::Running;
        for node in &mut dispatch.nodes[3..] {
            (node.status, node.started_at, node.ended_at) = (Status::NewObject, None, None);
        }
        let analysis = analyse(&dispatch, &edges, samples::now());
        assert!(analysis.timings[3].queued.is_some_and(|time| time.as_secs() > 0));
        assert_eq!(analysis.timings[4], Timing::default());
        dispatch.summary.status = Status::Failed;
        let analysis = analyse(&dispatch, &edges, samples::now());
        assert_eq!(analysis.timings[3].queued, None);
    }
}
