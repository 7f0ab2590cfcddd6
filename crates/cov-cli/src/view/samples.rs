//! Dispatches at fixed times, for tests of what is shown.

use std::collections::BTreeMap;

use cov_client::{Dispatch, Node};
use cov_core::error::Fault;
use cov_core::graph::{Edge, EdgeKind, NodeKind};
use cov_core::ids::NodeId;
use cov_core::manifest::LatticeInfo;
use cov_core::result::Summary;
use cov_core::status::Status;
use cov_core::time::Timestamp;

pub(crate) fn now() -> Timestamp {
    at(0)
}

/// So many milliseconds after noon.
pub(crate) fn at(millis: i64) -> Timestamp {
    let noon: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    Timestamp::from_micros(noon.as_micros() + millis * 1_000)
}

pub(crate) fn summary(id: &str, name: &str, status: Status) -> Summary {
    Summary {
        dispatch_id: id.parse().unwrap(),
        root_dispatch_id: id.parse().unwrap(),
        parent_dispatch_id: None,
        name: name.into(),
        status,
        node_count: 6,
        completed_node_count: 4,
        created_at: at(-200_000),
        updated_at: at(-180_000),
        started_at: Some(at(-199_900)),
        ended_at: status.is_terminal().then(|| at(-180_000)),
    }
}

pub(crate) fn node(id: u32, name: &str, kind: NodeKind, status: Status, span: (i64, i64)) -> Node {
    let has_run = kind != NodeKind::Parameter && status != Status::NewObject;
    Node {
        node_id: NodeId(id),
        name: name.into(),
        kind,
        status,
        executor: "local".into(),
        started_at: has_run.then(|| at(span.0)),
        ended_at: status.is_terminal().then(|| at(span.1)),
        fault: None,
        attempt: has_run.then(|| "1.1".into()),
        failed_attempts: 0,
        sub_dispatch_id: None,
        assets: BTreeMap::new(),
    }
}

pub(crate) fn edge(source: u32, target: u32) -> Edge {
    let (source, target) = (NodeId(source), NodeId(target));
    Edge { source, target, name: String::new(), kind: EdgeKind::Arg(source.0) }
}

/// A diamond behind a parameter: load, then two that parse, then train, then the end.
pub(crate) fn etl() -> (Dispatch, Vec<Edge>) {
    let begin = -199_900;
    let task = |id, name, span: (i64, i64)| {
        let span = (begin + span.0, begin + span.1);
        node(id, name, NodeKind::Task, Status::Completed, span)
    };
    let mut nodes = vec![
        node(0, ":parameter:day", NodeKind::Parameter, Status::Completed, (begin, begin)),
        task(1, "load", (100, 2_100)),
        task(2, "parse", (2_100, 4_000)),
        task(3, "parse", (6_100, 12_100)),
        task(4, "train", (12_200, 19_800)),
        node(
            5,
            ":postprocess:",
            NodeKind::Postprocess,
            Status::Completed,
            (begin + 19_810, begin + 19_900),
        ),
    ];
    nodes[3].failed_attempts = 2;
    let edges = vec![edge(0, 1), edge(1, 2), edge(1, 3), edge(2, 4), edge(3, 4), edge(4, 5)];
    let summary = Summary {
        completed_node_count: 6,
        ..summary("3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3", "etl", Status::Completed)
    };
    let lattice = LatticeInfo { name: "etl".into(), ..LatticeInfo::default() };
    (Dispatch { summary, lattice, error: None, assets: BTreeMap::new(), nodes }, edges)
}

/// The same, where one that parses has failed.
pub(crate) fn failed() -> (Dispatch, Vec<Edge>) {
    let (mut dispatch, edges) = etl();
    dispatch.summary.status = Status::Failed;
    dispatch.summary.completed_node_count = 3;
    dispatch.error = Some("node 3 (parse): ValueError: bad row 17".into());
    dispatch.nodes[3].status = Status::Failed;
    dispatch.nodes[3].fault = Some(Fault::Task);
    for node in &mut dispatch.nodes[4..] {
        (node.status, node.started_at, node.ended_at) = (Status::NewObject, None, None);
    }
    (dispatch, edges)
}

/// The same, on its way.
pub(crate) fn running() -> (Dispatch, Vec<Edge>) {
    let (mut dispatch, edges) = etl();
    dispatch.summary.status = Status::Running;
    dispatch.summary.ended_at = None;
    dispatch.summary.completed_node_count = 2;
    let states = [
        (2, Status::Running),
        (3, Status::NewObject),
        (4, Status::NewObject),
        (5, Status::NewObject),
    ];
    for (index, status) in states {
        let node = &mut dispatch.nodes[index];
        (node.status, node.ended_at, node.failed_attempts) = (status, None, 0);
        if status == Status::NewObject {
            node.started_at = None;
        }
    }
    (dispatch, edges)
}

/// One node, many equal ones below it, and one that takes all of them.
pub(crate) fn fan(width: u32) -> (Dispatch, Vec<Edge>) {
    let mut nodes = vec![node(0, "split", NodeKind::Task, Status::Completed, (-9_000, -8_000))];
    let mut edges = Vec::new();
    for id in 1..=width {
        let status = if id == 3 { Status::Failed } else { Status::Completed };
        nodes.push(node(
            id,
            "square",
            NodeKind::Task,
            status,
            (-8_000, -8_000 + i64::from(id) * 10),
        ));
        edges.extend([edge(0, id), edge(id, width + 1)]);
    }
    nodes.push(node(width + 1, "sum", NodeKind::Task, Status::NewObject, (0, 0)));
    nodes.push(node(width + 2, ":postprocess:", NodeKind::Postprocess, Status::NewObject, (0, 0)));
    edges.push(edge(width + 1, width + 2));
    let (mut dispatch, _) = etl();
    dispatch.summary.name = "fan".into();
    dispatch.summary.status = Status::Failed;
    dispatch.summary.node_count = width + 3;
    dispatch.summary.completed_node_count = width;
    dispatch.nodes = nodes;
    (dispatch, edges)
}
