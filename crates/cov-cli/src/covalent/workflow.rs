//! The rows and files of one dispatch, as a workflow and what became of it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use cov_client::Workflow;
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::bundle::Bundle;
use cov_core::error::Fault;
use cov_core::executor::ExecutorSpec;
use cov_core::graph::Edge;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::manifest::ended::{NodeOutcome, Outcome, ParentNode};
use cov_core::manifest::{LatticeInfo, ManifestNode};
use cov_core::status::Status;
use cov_core::time::Timestamp;

use super::files::Gathering;
use super::rows::{self, Lattice};
use super::{Error, names};

/// How contents in files of this machine are marked.
const LOCAL_STORAGE: &str = "file";

/// A dispatch, ready to be sent.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) workflow: Workflow,
    pub(crate) outcome: Outcome,
    /// Contents that should be there and are not.
    pub(crate) missing: Vec<PathBuf>,
}

/// What the database says of a dispatch.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) lattice: Lattice,
    pub(super) electrons: Vec<rows::Electron>,
    pub(super) edges: Vec<rows::Edge>,
    pub(super) assets: Vec<rows::Asset>,
}

type Executor = (Option<String>, Option<String>);

/// Puts a dispatch together. Reads its files.
///
/// # Errors
/// A row makes no sense, or a file is there and cannot be read.
pub(super) fn take(
    rows: &Rows,
    parent: Option<ParentNode>,
    results: Option<&Path>,
) -> Result<Taken, Error> {
    let Lattice { dispatch_id, .. } = &rows.lattice;
    let id: DispatchId = dispatch_id.parse().map_err(|error| fault("its id", error))?;
    let mut bundle = Bundle::new(lattice_info(&rows.lattice)?);
    put_nodes(&mut bundle, &rows.electrons)?;
    for edge in &rows.edges {
        bundle.manifest.edges.push(edge_of(edge)?);
    }
    // The server checks it too; here the fault is told of one dispatch, before its files are read.
    bundle.manifest.graph(usize::MAX).map_err(|error| fault("its graph", error))?;
    let outcome = outcome(rows, parent)?;
    let (gathering, missing) = gather(bundle, &rows.assets, results)?;
    let mut workflow = Workflow::new(gathering.bundle).id(id);
    for (address, path, content) in gathering.files {
        let path = std::path::absolute(&path).unwrap_or(path);
        workflow = workflow.file(address, path, &content);
    }
    Ok(Taken { workflow, outcome, missing })
}

fn fault(what: impl Into<String>, reason: impl std::fmt::Display) -> Error {
    Error::Row { what: what.into(), reason: reason.to_string() }
}

fn lattice_info(lattice: &Lattice) -> Result<LatticeInfo, Error> {
    Ok(LatticeInfo {
        name: lattice.name.clone(),
        executor: executor(&lattice.executor)?,
        workflow_executor: executor(&lattice.workflow_executor)?,
        python_version: lattice.python_version.clone(),
        sdk_version: lattice.covalent_version.clone(),
    })
}

fn executor((name, data): &Executor) -> Result<ExecutorSpec, Error> {
    let data = match data.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => serde_json::from_str(text).map_err(|error| fault("an executor", error))?,
        None => serde_json::json!({}),
    };
    let data = if data.is_object() { data } else { serde_json::json!({}) };
    Ok(ExecutorSpec { name: name.clone().unwrap_or_else(|| "local".to_owned()), data })
}

fn put_nodes(bundle: &mut Bundle, electrons: &[rows::Electron]) -> Result<(), Error> {
    let mut known: HashMap<Executor, u32> = HashMap::new();
    for (index, electron) in electrons.iter().enumerate() {
        let (id, group, name, _, executor_name, executor_data, ..) = electron;
        if usize::try_from(*id) != Ok(index) {
            return Err(fault(format!("node {id}"), format!("node {index} is missing")));
        }
        let executors = &mut bundle.manifest.executors;
        let spec = (executor_name.clone(), executor_data.clone());
        let position = match known.get(&spec) {
            Some(position) => *position,
            None => {
                executors.push(executor(&spec)?);
                let position = u32::try_from(executors.len() - 1).unwrap_or(u32::MAX);
                known.insert(spec, position);
                position
            }
        };
        bundle.manifest.nodes.push(ManifestNode {
            name: name.clone(),
            kind: names::kind(name),
            task_group: node(*group)?,
            executor: position,
            status: Status::NewObject,
        });
    }
    Ok(())
}

fn node(id: i64) -> Result<NodeId, Error> {
    u32::try_from(id).map(NodeId).map_err(|error| fault(format!("node {id}"), error))
}

fn edge_of((source, target, name, parameter, index): &rows::Edge) -> Result<Edge, Error> {
    let kind = names::edge_kind(name, parameter.as_deref(), *index);
    let kind = kind.ok_or_else(|| fault(format!("edge `{name}`"), "it has no position"))?;
    Ok(Edge { source: node(*source)?, target: node(*target)?, name: name.clone(), kind })
}

fn outcome(rows: &Rows, parent: Option<ParentNode>) -> Result<Outcome, Error> {
    let Lattice { status, created_at, updated_at, started_at, completed_at, .. } = &rows.lattice;
    let found = names::status(status).map_err(|text| fault("its state", text))?;
    let changed = time(updated_at)?;
    let ended_at = optional_time(completed_at.as_deref())?.unwrap_or(changed);
    let nodes: Result<_, Error> =
        rows.electrons.iter().map(|electron| node_outcome(electron, ended_at)).collect();
    Ok(Outcome {
        // Whoever asks for a dispatch that is under way has decided that it never ends.
        status: if found.is_terminal() { found } else { Status::Failed },
        registered_at: time(created_at)?,
        started_at: optional_time(started_at.as_deref())?,
        ended_at,
        parent,
        nodes: nodes?,
    })
}

fn node_outcome(electron: &rows::Electron, ended: Timestamp) -> Result<NodeOutcome, Error> {
    let (id, _, _, status, _, _, started_at, completed_at) = electron;
    let found = names::status(status).map_err(|text| fault(format!("state of node {id}"), text))?;
    let (started_at, ended_at) =
        (optional_time(started_at.as_deref())?, optional_time(completed_at.as_deref())?);
    Ok(match found {
        Status::Completed | Status::Cancelled => {
            NodeOutcome { status: found, started_at, ended_at, fault: None }
        }
        Status::Failed => {
            NodeOutcome { status: found, started_at, ended_at, fault: Some(Fault::Task) }
        }
        Status::NewObject | Status::PendingReuse | Status::PendingReplacement => {
            NodeOutcome { status: Status::NewObject, started_at: None, ended_at: None, fault: None }
        }
        // Nobody has waited for its end.
        Status::Starting | Status::Running | Status::Dispatching | Status::Postprocessing => {
            let fault = Some(Fault::Lost);
            NodeOutcome { status: Status::Failed, started_at, ended_at: Some(ended), fault }
        }
    })
}

fn time(text: &str) -> Result<Timestamp, Error> {
    text.replacen(' ', "T", 1).parse().map_err(|error| fault("a time", error))
}

fn optional_time(text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    text.map(time).transpose()
}

fn gather(
    bundle: Bundle,
    assets: &[rows::Asset],
    results: Option<&Path>,
) -> Result<(Gathering, Vec<PathBuf>), Error> {
    let mut gathering = Gathering::new(bundle);
    let mut seen: HashSet<AssetAddress> = HashSet::new();
    let mut missing = Vec::new();
    for (owner, key, storage, folder, object, size) in assets {
        // Keys of plugins are their own business.
        let Ok(key) = key.parse::<AssetKey>() else { continue };
        let address = AssetAddress { node: owner.map(node).transpose()?, key };
        if !seen.insert(address) {
            continue;
        }
        let path = results.unwrap_or(Path::new(folder)).join(object);
        let is_there = storage == LOCAL_STORAGE && gathering.put(address, path.clone())?;
        if !is_there && size.is_some_and(|size| size > 0) {
            missing.push(path);
        }
    }
    Ok((gathering, missing))
}
