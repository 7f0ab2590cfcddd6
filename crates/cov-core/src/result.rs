//! The record of a dispatch: what it was given, what became of it and of each of its electrons.
//! Plain data. Fetching and saving it is the client's business.

use std::fmt;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::graph::NodeKind;
use crate::ids::{DispatchId, NodeId};
use crate::manifest::LatticeInfo;
use crate::status::Status;
use crate::time::Timestamp;
use crate::transportable::{Encoding, TransportableObject};

/// Something that may be large: here, or still where it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fetched<T> {
    /// Here.
    Here(T),
    /// Not fetched yet.
    There {
        /// How large it is. Bytes.
        bytes: u64,
    },
}

impl<T> Fetched<T> {
    /// The thing itself, if it is here.
    pub fn here(&self) -> Option<&T> {
        match self {
            Self::Here(thing) => Some(thing),
            Self::There { .. } => None,
        }
    }
}

/// An encoded value that may be large.
pub type Value = Fetched<TransportableObject>;
/// A text that may be large.
pub type Text = Fetched<String>;

/// Why a value could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// There is none, as yet or for good.
    #[error("{what} is not there: the status is {status}")]
    Missing {
        /// What was asked for.
        what: String,
        /// The state of the dispatch or of the electron.
        status: Status,
    },
    /// There is one, and it has not been fetched.
    #[error("{what} has {bytes} bytes and was not fetched")]
    NotFetched {
        /// What was asked for.
        what: String,
        /// How large it is. Bytes.
        bytes: u64,
    },
    /// It cannot be read as the type that was asked for.
    #[error("{what} is encoded as {encoding} and cannot be read as `{wanted}`")]
    Unreadable {
        /// What was asked for.
        what: String,
        /// How it is encoded.
        encoding: Encoding,
        /// The type that was asked for.
        wanted: &'static str,
        /// What is wrong with it.
        #[source]
        source: crate::transportable::Error,
    },
}

/// Everything known of one dispatch at one moment: the attributes that the SDK documents.
///
/// The type is always written with its module, `result::Result`, so that it is never taken for
/// the standard library's.
///
/// ```
/// use cov_core::manifest::LatticeInfo;
/// use cov_core::result;
/// use cov_core::transportable::TransportableObject;
///
/// let lattice = LatticeInfo { name: "sum".into(), ..LatticeInfo::default() };
/// let mut record = result::Result::new(lattice, "d-1".parse().unwrap());
/// assert_eq!(record.status, result::Result::NEW_OBJ);
/// record.status = result::Result::COMPLETED;
/// let three = TransportableObject::from_json(&3).unwrap();
/// record.result = Some(result::Fetched::Here(three));
/// assert_eq!(record.result::<i64>().unwrap(), 3);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Result {
    /// What the client that registered it said of the lattice.
    pub lattice: LatticeInfo,
    /// The folder in which it is saved, below it in one with the name of the dispatch.
    pub results_dir: PathBuf,
    /// The dispatch.
    pub dispatch_id: DispatchId,
    /// The dispatch at the top of the hierarchy of sub-dispatches; itself, if it has no parent.
    pub root_dispatch_id: DispatchId,
    /// Its state.
    pub status: Status,
    /// When its first electron was about to begin.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// The arguments that it was dispatched with.
    pub inputs: Option<Value>,
    /// What the lattice returned, once the dispatch is complete.
    pub result: Option<Value>,
    /// Why it failed: its failed electrons, one a line.
    pub error: Option<String>,
    /// Its electrons, by node id.
    pub nodes: Vec<NodeResult>,
}

/// Everything known of one electron at one moment: the ten fields that the SDK documents, and
/// what it is to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeResult {
    /// Its id in the transport graph.
    pub node_id: NodeId,
    /// Its name.
    pub node_name: String,
    /// When it was handed to its executor.
    pub start_time: Option<Timestamp>,
    /// When it ended.
    pub end_time: Option<Timestamp>,
    /// Its state.
    pub status: Status,
    /// What it returned.
    pub output: Option<Value>,
    /// Why it failed.
    pub error: Option<Text>,
    /// The record of its sub-dispatch, if it is one.
    pub sublattice_result: Option<Box<Result>>,
    /// What it printed.
    pub stdout: Option<Text>,
    /// What it printed to its error stream.
    pub stderr: Option<Text>,
    /// What it is to the engine.
    pub kind: NodeKind,
    /// Its sub-dispatch, if it is one.
    pub sub_dispatch_id: Option<DispatchId>,
}

impl Result {
    /// The state of a dispatch that is only registered.
    pub const NEW_OBJ: Status = Status::NewObject;
    /// The state of a dispatch that ended well.
    pub const COMPLETED: Status = Status::Completed;
    /// The state of a dispatch at work.
    pub const RUNNING: Status = Status::Running;
    /// The state of a dispatch with a failed electron.
    pub const FAILED: Status = Status::Failed;
    /// The state of a dispatch that somebody cancelled.
    pub const CANCELLED: Status = Status::Cancelled;

    /// The record of a dispatch of which nothing is known but its lattice and its id.
    #[must_use]
    pub fn new(lattice: LatticeInfo, dispatch_id: DispatchId) -> Self {
        Self {
            lattice,
            results_dir: PathBuf::new(),
            root_dispatch_id: dispatch_id.clone(),
            dispatch_id,
            status: Self::NEW_OBJ,
            start_time: None,
            end_time: None,
            inputs: None,
            result: None,
            error: None,
            nodes: Vec::new(),
        }
    }

    /// What the lattice returned, still encoded; `None` if it is not there or was not fetched.
    #[must_use]
    pub fn encoded_result(&self) -> Option<&TransportableObject> {
        self.result.as_ref()?.here()
    }

    /// What the lattice returned: plain data of Python, JSON, or what another Rust program made.
    ///
    /// # Errors
    /// There is none, it was not fetched, or it is no `T`.
    pub fn result<T: DeserializeOwned>(&self) -> std::result::Result<T, ValueError> {
        decode(self.result.as_ref(), || "the result".to_owned(), self.status)
    }

    /// The arguments that it was dispatched with. The SDK writes a map with `args` and `kwargs`.
    ///
    /// # Errors
    /// There are none, they were not fetched, or they are no `T`.
    pub fn inputs<T: DeserializeOwned>(&self) -> std::result::Result<T, ValueError> {
        decode(self.inputs.as_ref(), || "the inputs".to_owned(), self.status)
    }

    /// The output of every electron that has one, by node id.
    pub fn get_all_node_outputs(&self) -> impl Iterator<Item = (NodeId, &Value)> {
        self.nodes.iter().filter_map(|node| Some((node.node_id, node.output.as_ref()?)))
    }

    /// The record of every electron.
    #[must_use]
    pub fn get_all_node_results(&self) -> &[NodeResult] {
        &self.nodes
    }

    /// The record of one electron, or `None` for a node that the lattice does not have.
    #[must_use]
    pub fn get_node_result(&self, node_id: NodeId) -> Option<&NodeResult> {
        self.nodes.get(node_id.index())
    }

    /// Makes the result here, where the server could not: hands the outputs of all electrons, in
    /// the order of their ids, to `workflow`, which puts together what the lattice would have
    /// returned. Parameters, and what only takes values apart, are left out.
    ///
    /// # Errors
    /// The output of an electron is not there, or was not fetched.
    ///
    /// ```
    /// # use cov_core::{manifest::LatticeInfo, result};
    /// # let record = result::Result::new(LatticeInfo::default(), "d-1".parse().unwrap());
    /// let count = record.post_process(|outputs| outputs.len())?;
    /// assert_eq!(count, 0);
    /// # Ok::<(), cov_core::result::ValueError>(())
    /// ```
    pub fn post_process<T>(
        &self,
        workflow: impl FnOnce(&[&TransportableObject]) -> T,
    ) -> std::result::Result<T, ValueError> {
        let is_electron =
            |node: &&NodeResult| matches!(node.kind, NodeKind::Task | NodeKind::Sublattice);
        let outputs: std::result::Result<Vec<&TransportableObject>, ValueError> =
            self.nodes.iter().filter(is_electron).map(NodeResult::encoded_output).collect();
        Ok(workflow(&outputs?))
    }
}

impl NodeResult {
    /// What it returned, still encoded.
    ///
    /// # Errors
    /// There is none, or it was not fetched.
    pub fn encoded_output(&self) -> std::result::Result<&TransportableObject, ValueError> {
        here(self.output.as_ref(), || self.named(), self.status)
    }

    /// What it returned: plain data of Python, JSON, or what another Rust program made.
    ///
    /// # Errors
    /// There is none, it was not fetched, or it is no `T`.
    pub fn output<T: DeserializeOwned>(&self) -> std::result::Result<T, ValueError> {
        decode(self.output.as_ref(), || self.named(), self.status)
    }

    fn named(&self) -> String {
        format!("the output of node {} ({})", self.node_id, self.node_name)
    }
}

fn here(
    value: Option<&Value>,
    what: impl FnOnce() -> String,
    status: Status,
) -> std::result::Result<&TransportableObject, ValueError> {
    match value {
        None => Err(ValueError::Missing { what: what(), status }),
        Some(Fetched::There { bytes }) => {
            Err(ValueError::NotFetched { what: what(), bytes: *bytes })
        }
        Some(Fetched::Here(object)) => Ok(object),
    }
}

fn decode<T: DeserializeOwned>(
    value: Option<&Value>,
    what: impl Fn() -> String,
    status: Status,
) -> std::result::Result<T, ValueError> {
    let object = here(value, &what, status)?;
    object.decode().map_err(|source| ValueError::Unreadable {
        what: what(),
        encoding: object.header.encoding,
        wanted: std::any::type_name::<T>(),
        source,
    })
}

/// As people read it: what is known of the dispatch, and the printed outputs of its electrons.
impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: &Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let printed = |value: &Option<Value>| match value {
            None => "-".to_owned(),
            Some(Fetched::Here(object)) => object.object_string.clone(),
            Some(Fetched::There { bytes }) => format!("({bytes} bytes)"),
        };
        writeln!(f, "lattice: {}", self.lattice.name)?;
        writeln!(f, "dispatch_id: {}", self.dispatch_id)?;
        writeln!(f, "status: {}", self.status)?;
        writeln!(f, "result: {}", printed(&self.result))?;
        writeln!(f, "inputs: {}", printed(&self.inputs))?;
        writeln!(f, "error: {}", self.error.as_deref().unwrap_or("-"))?;
        writeln!(f, "start_time: {}", time(&self.start_time))?;
        writeln!(f, "end_time: {}", time(&self.end_time))?;
        for node in &self.nodes {
            let NodeResult { node_id, node_name, output, .. } = node;
            writeln!(f, "{node_name}({node_id}): {}", printed(output))?;
        }
        Ok(())
    }
}

/// The short record of a dispatch in lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The dispatch.
    pub dispatch_id: DispatchId,
    /// The dispatch at the top of its hierarchy.
    pub root_dispatch_id: DispatchId,
    /// The dispatch whose electron it is, if it has a parent.
    pub parent_dispatch_id: Option<DispatchId>,
    /// The lattice's name.
    pub name: String,
    /// Its state.
    pub status: Status,
    /// How many nodes it has.
    pub node_count: u32,
    /// How many of them are complete.
    pub completed_node_count: u32,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its record last changed.
    pub updated_at: Timestamp,
    /// When its first electron was about to begin.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Why an electron failed, in the words that are stored with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault it is.
    pub fault: Fault,
    /// What happened: a traceback, or a sentence.
    pub message: String,
}

#[cfg(test)]
mod tests;
