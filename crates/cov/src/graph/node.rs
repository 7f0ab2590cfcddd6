//! The typed handle of a node.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use cov_core::ids::NodeId;

use super::Nodes;
use super::builder::with_active;

/// A value that a node of the graph being built will have: the output of an electron, or an
/// argument. Stands where a `T` is expected as an argument of an electron. Cheap to copy.
///
/// The methods that change a node work while its graph is being built, and return it again:
///
/// ```
/// # use std::time::Duration;
/// # use cov::electron;
/// #[electron]
/// fn fetch(page: u32) -> String {
///     format!("page {page}")
/// }
///
/// let lattice = cov::graph::build("pages", || {
///     let login = fetch::node(0).label("log in");
///     fetch::node(1).retries(3).time_limit(Duration::from_secs(20)).wait_for(login)
/// })?;
/// assert_eq!(lattice.electrons(), 2);
/// # Ok::<(), cov::Error>(())
/// ```
pub struct Node<T> {
    pub(super) id: NodeId,
    /// Which graph it belongs to.
    pub(super) graph: u32,
    value: PhantomData<fn() -> T>,
}

impl<T> Node<T> {
    pub(super) fn new(graph: u32, id: NodeId) -> Self {
        Self { id, graph, value: PhantomData }
    }

    /// Its id in the graph.
    #[must_use]
    pub fn id(self) -> NodeId {
        self.id
    }

    /// Names it, for people.
    #[must_use = "this is the same node"]
    pub fn label(self, label: impl Into<String>) -> Self {
        let label = label.into();
        with_active(|builder| builder.label(self.graph, self.id, label));
        self
    }

    /// How many more attempts follow a failed one.
    #[must_use = "this is the same node"]
    pub fn retries(self, retries: u32) -> Self {
        self.settings(|settings| settings.retries = Some(retries))
    }

    /// How long one attempt may run, from its begin.
    #[must_use = "this is the same node"]
    pub fn time_limit(self, limit: Duration) -> Self {
        self.settings(|settings| settings.time_limit = Some(limit))
    }

    /// Where it runs: an [`Executor`](crate::Executor), or only its name.
    #[must_use = "this is the same node"]
    pub fn executor(self, executor: impl Into<crate::Executor>) -> Self {
        let executor = executor.into();
        self.settings(|settings| settings.executor = Some(executor))
    }

    /// The folder that it runs in; created if it does not exist.
    #[must_use = "this is the same node"]
    pub fn work_dir(self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        self.settings(|settings| settings.work_dir = Some(folder))
    }

    /// How large the address space of its process may become, in units of 2^20 bytes. Runners are
    /// shared among electrons of one program with the same limit.
    #[must_use = "this is the same node"]
    pub fn memory_limit_mb(self, limit: u64) -> Self {
        self.settings(|settings| settings.memory_limit_mb = Some(limit))
    }

    /// Has it wait for others whose values it does not take: a node, or a collection of nodes.
    #[must_use = "this is the same node"]
    pub fn wait_for(self, others: impl Nodes) -> Self {
        with_active(|builder| builder.wait_for(self.graph, self.id, &others));
        self
    }

    fn settings(self, change: impl FnOnce(&mut super::Settings)) -> Self {
        with_active(|builder| builder.settings(self.graph, self.id, change));
        self
    }
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Node<T> {}

impl<T> fmt::Debug for Node<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node<{}>({})", type_name::<T>(), self.id)
    }
}
