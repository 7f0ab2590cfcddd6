//! A dispatch that ended elsewhere, as it is taken over: what was dispatched, and what became of
//! it. Unknown members are refused, as in [`super::document`]. Knows nothing of where it ended.
//!
//! ```text
//! {"workflow": {"dispatch_id": "…", "lattice": {…}, "nodes": […], "edges": […], "assets": […]},
//!  "outcome": {"status": "COMPLETED", "registered_at": "2024-01-31T12:00:00.000000",
//!              "started_at": "…", "ended_at": "…", "parent": {"dispatch": "…", "node": 3},
//!              "nodes": [{"status": "COMPLETED", "started_at": "…", "ended_at": "…"}]}}
//! ```

use serde::{Deserialize, Serialize};

use super::Manifest;
use super::document::{self, Document};
use crate::asset::ContentDigest;
use crate::error::Fault;
use crate::ids::{AttemptId, ContentId, DispatchId, NodeId};
use crate::state::{DispatchState, NodeState};
use crate::status::Status;
use crate::time::Timestamp;

/// What was dispatched, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndedDocument {
    /// The workflow, with its id, and with the assets that its tasks left behind.
    pub workflow: Document,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a dispatch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// When its first electron was about to begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The node whose sub-dispatch it is, of a dispatch that was taken over before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentNode>,
    /// What became of its nodes, by id.
    pub nodes: Vec<NodeOutcome>,
}

/// A node that has a sub-dispatch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParentNode {
    /// The dispatch.
    pub dispatch: DispatchId,
    /// Its node.
    pub node: NodeId,
}

/// What became of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeOutcome {
    /// How it ended, or `NEW_OBJECT` if it never ran.
    pub status: Status,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Whose fault its failure was, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// Why an outcome makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutcomeError {
    /// The workflow has no id.
    #[error("a dispatch that ended has an id")]
    NoId,
    /// The dispatch has not ended.
    #[error("a dispatch that is {status} has not ended")]
    NotEnded {
        /// Its state.
        status: Status,
    },
    /// There are as many outcomes as nodes.
    #[error("{outcomes} outcomes of {nodes} nodes")]
    Nodes {
        /// How many nodes the workflow has.
        nodes: usize,
        /// How many outcomes came.
        outcomes: usize,
    },
    /// A node is under way in a dispatch that ended.
    #[error("node {node} is {status} in a dispatch that ended")]
    UnderWay {
        /// The node.
        node: NodeId,
        /// Its state.
        status: Status,
    },
}

impl Outcome {
    /// Checks that this can have become of `manifest`.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self, manifest: &Manifest) -> Result<(), OutcomeError> {
        if manifest.dispatch_id.is_none() {
            return Err(OutcomeError::NoId);
        }
        if !self.status.is_terminal() {
            return Err(OutcomeError::NotEnded { status: self.status });
        }
        let (nodes, outcomes) = (manifest.nodes.len(), self.nodes.len());
        if nodes != outcomes {
            return Err(OutcomeError::Nodes { nodes, outcomes });
        }
        let under_way = |(_, node): &(NodeId, &NodeOutcome)| {
            !node.status.is_terminal() && node.status != Status::NewObject
        };
        match self.by_id().find(under_way) {
            Some((node, outcome)) => Err(OutcomeError::UnderWay { node, status: outcome.status }),
            None => Ok(()),
        }
    }

    /// The state of the dispatch.
    #[must_use]
    pub fn state(&self) -> DispatchState {
        DispatchState {
            status: self.status,
            started_at: self.started_at,
            ended_at: Some(self.ended_at),
            cancel_requested: self.status == Status::Cancelled,
        }
    }

    /// The state of every node that is not as it was registered.
    pub fn node_states(&self) -> impl Iterator<Item = (NodeId, NodeState)> {
        let ended = self.by_id().filter(|(_, node)| node.status != Status::NewObject);
        ended.map(|(id, node)| (id, node.state(id)))
    }

    /// Names what is taken over: the same dispatch with the same outcome has the same name.
    #[must_use]
    pub fn digest(&self, manifest: &Manifest) -> ContentId {
        let mut digest = ContentDigest::default();
        digest.update(document::digest(manifest).as_bytes());
        // Only maps with other keys than texts have no JSON form, and there are none.
        digest.update(&serde_json::to_vec(self).unwrap_or_default());
        digest.finish().id
    }

    fn by_id(&self) -> impl Iterator<Item = (NodeId, &NodeOutcome)> {
        (0..).map(NodeId).zip(&self.nodes)
    }
}

impl NodeOutcome {
    fn state(&self, id: NodeId) -> NodeState {
        let Self { status, started_at, ended_at, fault } = *self;
        // What took no time was taken over from yet another dispatch, or is a parameter. All else
        // ran, in an attempt of a time before this server's first start.
        let ran = started_at.is_some() && started_at != ended_at;
        NodeState {
            status,
            started_at,
            ended_at,
            attempt: ran.then(|| AttemptId::new(0, id.0)),
            failed_attempts: u32::from(ran && status == Status::Failed),
            fault,
            cancel_requested: status == Status::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::ExecutorSpec;
    use crate::graph::NodeKind;
    use crate::manifest::{LatticeInfo, ManifestNode};

    fn manifest() -> Manifest {
        let node = |name: &str| ManifestNode {
            name: name.into(),
            kind: NodeKind::Task,
            task_group: NodeId(0),
            executor: 0,
            status: Status::NewObject,
        };
        Manifest {
            dispatch_id: Some("d-1".parse().unwrap()),
            lattice: LatticeInfo::default(),
            executors: vec![ExecutorSpec { name: "local".into(), data: serde_json::json!({}) }],
            nodes: vec![node("ran"), node("never")],
            edges: Vec::new(),
            assets: Vec::new(),
        }
    }

    fn outcome() -> Outcome {
        let at = |second: i64| Timestamp::from_micros(second * 1_000_000);
        let ran = NodeOutcome {
            status: Status::Failed,
            started_at: Some(at(1)),
            ended_at: Some(at(2)),
            fault: Some(Fault::Lost),
        };
        let never = NodeOutcome {
            status: Status::NewObject,
            started_at: None,
            ended_at: None,
            fault: None,
        };
        Outcome {
            status: Status::Failed,
            registered_at: at(0),
            started_at: Some(at(1)),
            ended_at: at(2),
            parent: None,
            nodes: vec![ran, never],
        }
    }

    #[test]
    fn what_cannot_have_happened_is_refused() {
        let good = outcome();
        assert_eq!(good.check(&manifest()), Ok(()));
        let nameless = Manifest { dispatch_id: None, ..manifest() };
        assert_eq!(good.check(&nameless), Err(OutcomeError::NoId));
        let running = Outcome { status: Status::Running, ..outcome() };
        let refused = Err(OutcomeError::NotEnded { status: Status::Running });
        assert_eq!(running.check(&manifest()), refused);
        let mut short = outcome();
        short.nodes.pop();
        assert_eq!(short.check(&manifest()), Err(OutcomeError::Nodes { nodes: 2, outcomes: 1 }));
        let mut busy = outcome();
        busy.nodes[1].status = Status::Running;
        let refused = OutcomeError::UnderWay { node: NodeId(1), status: Status::Running };
        assert_eq!(busy.check(&manifest()), Err(refused));
    }

    #[test]
    fn only_what_ran_has_an_attempt() {
        let states: Vec<_> = outcome().node_states().collect();
        let [(NodeId(0), state)] = states.as_slice() else { panic!("{states:?}") };
        assert_eq!((state.attempt, state.failed_attempts), (Some(AttemptId::new(0, 0)), 1));
        let mut reused = outcome();
        reused.nodes[0].status = Status::Completed;
        reused.nodes[0].started_at = reused.nodes[0].ended_at;
        assert_eq!(reused.node_states().next().unwrap().1.attempt, None);
    }

    #[test]
    fn the_digest_names_workflow_and_outcome() {
        let (manifest, good) = (manifest(), outcome());
        let later = Outcome { ended_at: Timestamp::from_micros(9), ..outcome() };
        assert_eq!(good.digest(&manifest), outcome().digest(&manifest));
        assert_ne!(good.digest(&manifest), later.digest(&manifest));
        let other = Manifest { nodes: manifest.nodes[..1].to_vec(), ..manifest.clone() };
        assert_ne!(good.digest(&manifest), good.digest(&other));
    }

    #[test]
    fn the_document_survives_its_text_and_refuses_what_it_does_not_know() {
        let workflow = Document::of(&manifest(), |_| document::Source::Elsewhere);
        let document = EndedDocument { workflow, outcome: outcome() };
        let text = serde_json::to_string(&document).unwrap();
        assert_eq!(serde_json::from_str::<EndedDocument>(&text).unwrap(), document);
        let misspelt = text.replacen("\"outcome\"", "\"outcom\"", 1);
        assert!(serde_json::from_str::<EndedDocument>(&misspelt).is_err());
    }
}
