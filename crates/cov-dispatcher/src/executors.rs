//! The executors of one server: the one that it brings, and those that were added under names of
//! their own. Says which runs what; runs nothing.

use std::sync::Arc;

use cov_exec::Executor;

use crate::handle::Handle;
use crate::target;

/// All executors of a server.
///
/// ```no_run
/// # fn example(local: std::sync::Arc<dyn cov_exec::Executor>, gpu: std::sync::Arc<dyn cov_exec::Executor>) {
/// use cov_dispatcher::Executors;
///
/// let executors = Executors::new(local).with("gpu", gpu);
/// assert!(executors.shown().any(|(name, _slots)| name == "gpu"));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Executors {
    builtin: Arc<dyn Executor>,
    added: Vec<(String, Arc<dyn Executor>)>,
}

/// One of a server's executors, each of which has slots of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool(usize);

impl Pool {
    /// The executor that the server brings.
    pub const BUILTIN: Self = Self(0);

    pub(crate) fn index(self) -> usize {
        self.0
    }
}

impl From<Arc<dyn Executor>> for Executors {
    fn from(builtin: Arc<dyn Executor>) -> Self {
        Self::new(builtin)
    }
}

impl Executors {
    /// Nothing but the executor that the server brings. It runs what asks for one of
    /// [`target::names`].
    #[must_use]
    pub fn new(builtin: Arc<dyn Executor>) -> Self {
        Self { builtin, added: Vec::new() }
    }

    /// Adds an executor for tasks that ask for `name`. It takes the place of an earlier one, and
    /// of a built-in one, of that name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, executor: Arc<dyn Executor>) -> Self {
        let name = name.into();
        match self.added.iter_mut().find(|(taken, _)| *taken == name) {
            Some((_, place)) => *place = executor,
            None => self.added.push((name, executor)),
        }
        self
    }

    /// The names by which electrons can ask, and how many tasks run at once behind each. Names
    /// that share one pool show the pool's number.
    pub fn shown(&self) -> impl Iterator<Item = (&str, usize)> {
        let slots = self.builtin.slots();
        let builtin = target::names().iter().copied().filter(|name| self.named(name).is_none());
        let added = self.added.iter().map(|(name, executor)| (name.as_str(), executor.slots()));
        builtin.map(move |name| (name, slots)).chain(added)
    }

    /// Ends all of them, as [`Executor::stop`] does.
    pub async fn stop(&self) {
        futures_util::future::join_all(self.all().map(|executor| executor.stop())).await;
    }

    /// The pool that was added under this name.
    pub(crate) fn named(&self, name: &str) -> Option<Pool> {
        self.added.iter().position(|(added, _)| added == name).map(|index| Pool(index + 1))
    }

    pub(crate) fn pool(&self, pool: Pool) -> &Arc<dyn Executor> {
        let added = pool.0.checked_sub(1).and_then(|index| self.added.get(index));
        added.map_or(&self.builtin, |(_, executor)| executor)
    }

    /// In the order of their pools.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<dyn Executor>> {
        std::iter::once(&self.builtin).chain(self.added.iter().map(|(_, executor)| executor))
    }
}

/// How much there is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Dispatches that are in memory, because something is under way in them.
    pub dispatches: usize,
    /// Electrons that wait for a slot.
    pub queued: usize,
    /// Attempts that are under way.
    pub running: usize,
    /// How many may be.
    pub slots: usize,
}

impl Handle {
    /// The executors that tasks can ask for.
    #[must_use]
    pub fn executors(&self) -> &Executors {
        self.shared().admission.executors()
    }

    /// How many tasks run at once, on all executors.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.executors().all().map(|executor| executor.slots()).sum()
    }

    /// How much there is to do now. Asks no store.
    #[must_use]
    pub fn load(&self) -> Load {
        let (queued, running) = self.shared().admission.load();
        let slots = self.slots();
        Load { dispatches: self.shared().registry.len(), queued, running, slots }
    }
}
