//! What is behind the state of a dispatch: how its nodes hang together, why one failed, what a
//! redispatch would take over, and how many tasks run at once. Changes nothing.

use cov_core::error::Fault;
use cov_core::graph::Edge;
use cov_core::ids::{DispatchId, NodeId};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::dispatches::Node;
use crate::error::Error;

/// One node, with the address of its failure.
///
/// ```
/// fn last_words(node: &cov_client::NodeInFull) -> Option<&str> {
///     node.failure.as_ref()?.message.lines().last()
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInFull {
    /// The node.
    #[serde(flatten)]
    pub node: Node,
    /// Why it failed, if it did.
    #[serde(default)]
    pub failure: Option<NodeFailure>,
}

/// Why a node failed.
///
/// ```
/// let text = r#"{"message": "ValueError: no", "fault": "task"}"#;
/// let failure: cov_client::NodeFailure = serde_json::from_str(text)?;
/// assert!(failure.stderr_tail.is_empty());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFailure {
    /// Whose fault it was.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// A traceback, or a sentence with the exit code or signal. The end of it, if it is long.
    pub message: String,
    /// The last lines that it printed.
    #[serde(default)]
    pub stdout_tail: Vec<String>,
    /// The last lines that it printed to its error stream.
    #[serde(default)]
    pub stderr_tail: Vec<String>,
}

/// What becomes of one node of a redispatch, and why.
///
/// ```
/// let text = r#"{"node_id": 1, "name": "add", "verdict": "reused", "reason": "unchanged"}"#;
/// let plan: cov_client::NodePlan = serde_json::from_str(text)?;
/// assert_eq!((plan.verdict.as_str(), plan.upstream), ("reused", None));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// The node.
    pub node_id: NodeId,
    /// Its name, shortened.
    pub name: String,
    /// `reused`, `run_again` or `new`.
    pub verdict: String,
    /// `unchanged`, `code`, `input`, `upstream`, `earlier_status`, `not_asked` or `added`.
    pub reason: String,
    /// The node above it that is not the same, where that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<NodeId>,
    /// What differs and is no reason: `function_changed`, `executor_changed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// An executor that tasks can ask for.
///
/// ```
/// let text = r#"{"name": "local", "slots": 4}"#;
/// assert_eq!(serde_json::from_str::<cov_client::ExecutorSlots>(text)?.slots, 4);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorSlots {
    /// The name by which electrons ask for it.
    pub name: String,
    /// How many tasks it runs at once. Executors that share one pool show the pool's number.
    pub slots: u64,
    /// For an executor plugin: the module or the file that it was found in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Whether its tasks go on while the server is away, and are taken up again by the next one.
    #[serde(default)]
    pub attaches: bool,
    /// Why it cannot be used, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// The executors of a server.
///
/// ```
/// let text = r#"{"executors": [{"name": "local", "slots": 4}]}"#;
/// let executors: cov_client::Executors = serde_json::from_str(text)?;
/// assert!(executors.fault.is_none() && executors.executors[0].name == "local");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executors {
    /// The server's own first, then those that were added to it, then executor plugins.
    pub executors: Vec<ExecutorSlots>,
    /// Why executor plugins could not be looked for, if they could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Edges {
    edges: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Plan {
    nodes: Vec<NodePlan>,
}

/// Calls that look behind a state.
///
/// ```no_run
/// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
/// for edge in client.edges(&id).await? {
///     println!("{} -> {}", edge.source, edge.target);
/// }
/// # Ok(())
/// # }
/// ```
impl Client {
    /// The edges of a dispatch, grouped by target. They never change.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch; otherwise whatever
    /// keeps the server from answering. So for every call about a dispatch here.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// println!("{} edges", client.edges(&id).await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn edges(&self, dispatch: &DispatchId) -> Result<Vec<Edge>, Error> {
        let path = format!("/api/v3/dispatches/{dispatch}/graph");
        Ok(self.get_json::<Edges>(&path).await?.edges)
    }

    /// One node; for a failed one with the end of its traceback and of what it printed.
    ///
    /// # Errors
    /// As [`Client::edges`]; also for an unknown node.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// println!("{:?}", client.node(&id, cov_core::ids::NodeId(3)).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn node(&self, dispatch: &DispatchId, node: NodeId) -> Result<NodeInFull, Error> {
        self.get_json(&format!("/api/v3/dispatches/{dispatch}/nodes/{node}")).await
    }

    /// What dispatching it again, unchanged, would take over, by node. Changes nothing.
    ///
    /// # Errors
    /// As [`Client::edges`].
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// println!("{:?}", client.redispatch_preview(&id, true).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn redispatch_preview(
        &self,
        dispatch: &DispatchId,
        reuse: bool,
    ) -> Result<Vec<NodePlan>, Error> {
        let path = format!("/api/v3/dispatches/{dispatch}/redispatch-plan?reuse={reuse}");
        Ok(self.get_json::<Plan>(&path).await?.nodes)
    }

    /// The executors of the server. The first call may take some seconds: executor plugins are
    /// looked for.
    ///
    /// # Errors
    /// Whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{:?}", client.executors().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn executors(&self) -> Result<Executors, Error> {
        self.get_json("/api/v3/executors").await
    }

    /// The executors of the server, without executor plugins: nothing is looked for.
    ///
    /// # Errors
    /// As [`Client::executors`].
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let slots: u64 = client.own_executors().await?.iter().map(|one| one.slots).max().unwrap_or(0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn own_executors(&self) -> Result<Vec<ExecutorSlots>, Error> {
        let own: Executors = self.get_json("/api/v3/executors?plugins=false").await?;
        Ok(own.executors)
    }
}
