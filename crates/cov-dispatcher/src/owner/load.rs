//! Loads a dispatch from the store into its owner's hands.

use cov_core::asset::ContentRef;
use cov_core::ids::{DispatchId, NodeId};
use cov_engine::dispatch::{Dispatch, Plan, RestoredNode};
use cov_store::model::StoredDispatch;

use crate::Error;
use crate::service::Shared;
use crate::target::Target;

/// How often a dispatch is loaded again because its steps could not be stored.
pub(super) const RELOADS_MAX: u32 = 3;

/// What an owner knows beside the engine's state: where things are.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The dispatch at the top of the hierarchy: whose turn it is in admission.
    pub(crate) root: DispatchId,
    /// Where the tasks of each executor go.
    pub(crate) targets: Vec<Target>,
    /// For each node, the index of its executor.
    pub(crate) executor_of: Vec<u32>,
    /// The contents of each node.
    pub(crate) contents: Vec<NodeContents>,
}

/// The contents that an owner needs of a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeContents {
    pub(crate) function: Option<ContentRef>,
    pub(crate) hooks: Option<ContentRef>,
    pub(crate) output: Option<ContentRef>,
}

impl Loaded {
    pub(crate) fn node(&self, node: NodeId) -> Option<&NodeContents> {
        self.contents.get(node.index())
    }

    pub(crate) fn target(&self, node: NodeId) -> Option<&Target> {
        self.targets.get(*self.executor_of.get(node.index())? as usize)
    }
}

pub(super) async fn load(shared: &Shared, id: &DispatchId) -> Result<(Dispatch, Loaded), Error> {
    let StoredDispatch { root, state, graph, executors, nodes, .. } = shared.store.load(id).await?;
    let executor_of: Vec<u32> = nodes.iter().map(|node| node.executor).collect();
    let policies = executors.iter().map(|spec| spec.policy()).collect();
    let targets = executors.iter().map(Target::of).collect();
    let (restored, contents) = nodes
        .into_iter()
        .map(|node| {
            let restored = RestoredNode { state: node.state, child: node.sub_dispatch };
            let (function, hooks, output) = (node.function, node.hooks, node.output);
            (restored, NodeContents { function, hooks, output })
        })
        .unzip();
    let plan = Plan { graph, executor_of: executor_of.clone(), policies };
    let dispatch = Dispatch::restore(plan, state, restored).map_err(|reason| {
        cov_store::Error::Corrupt { what: format!("dispatch {id}"), reason: reason.to_string() }
    })?;
    Ok((dispatch, Loaded { root, targets, executor_of, contents }))
}
