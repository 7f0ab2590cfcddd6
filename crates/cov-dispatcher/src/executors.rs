//! The executors of one server: the one that it brings, those that were added under names of
//! their own, and those that are found when somebody asks for them. Says which runs what; runs
//! nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cov_exec::{Error, Executor, Finder, Found, Lane};

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
    added: Vec<Named>,
    finder: Option<Arc<dyn Finder>>,
    dask_address: Option<String>,
    /// Those of the finder that were asked for, in the order of their pools.
    taken: Arc<Mutex<Vec<Named>>>,
}

/// An executor, and the name by which tasks ask for it.
type Named = (String, Arc<dyn Executor>);

/// How many pools a finder gets. Names beyond that, which only somebody sends who makes them up,
/// share the last one.
const TAKEN_MAX: usize = 64;

/// One of a server's executors, each of which has slots of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool(usize);

impl Pool {
    /// The executor that the server brings.
    pub const BUILTIN: Self = Self(0);

    pub(crate) fn at(index: usize) -> Self {
        Self(index)
    }

    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// A slot: whose it is, and for which kind of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Of which executor.
    pub pool: Pool,
    /// What the task has in common with others there.
    pub lane: Lane,
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
        let (added, taken) = (Vec::new(), Arc::default());
        Self { builtin, added, finder: None, dask_address: None, taken }
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

    /// Has `finder` look for the executors that nobody added.
    #[must_use]
    pub fn with_finder(mut self, finder: Arc<dyn Finder>) -> Self {
        self.finder = Some(finder);
        self
    }

    /// Has tasks that ask for `dask` and do not say where it is run by the scheduler at `address`.
    #[must_use]
    pub fn with_dask(mut self, address: Option<String>) -> Self {
        self.dask_address = address.filter(|address| !address.is_empty());
        self
    }

    /// The names of the server's own executors and of those that were added, and how many tasks run
    /// at once behind each. Names that share one pool show the pool's number.
    pub fn shown(&self) -> impl Iterator<Item = (&str, usize)> {
        let slots = self.builtin.slots();
        let elsewhere = self.dask_address.as_ref().map(|_| target::DASK_NAME);
        let is_own = move |name: &&str| !self.is_added(name) && elsewhere != Some(*name);
        let builtin = target::names().iter().copied().filter(is_own);
        let added = self.added.iter().map(|(name, executor)| (name.as_str(), executor.slots()));
        builtin.map(move |name| (name, slots)).chain(added)
    }

    /// What the finder has now; nothing without one.
    ///
    /// # Errors
    /// As [`Finder::found`].
    pub async fn found(&self) -> Result<Vec<Found>, Error> {
        match &self.finder {
            Some(finder) => finder.found().await,
            None => Ok(Vec::new()),
        }
    }

    /// Ends all of them, as [`Executor::stop`] does.
    pub async fn stop(&self) {
        let own = self.fixed().map(|executor| executor.stop());
        let found = async {
            if let Some(finder) = &self.finder {
                finder.stop().await;
            }
        };
        tokio::join!(futures_util::future::join_all(own), found);
    }

    /// Whether an executor was added under this name.
    pub(crate) fn is_added(&self, name: &str) -> bool {
        self.added.iter().any(|(added, _)| added == name)
    }

    /// Where the scheduler is that `dask` means, if not the local pool.
    pub(crate) fn dask_address(&self) -> Option<&str> {
        self.dask_address.as_deref()
    }

    /// The pool of the executor that was added under this name, or that the finder has for it.
    pub(crate) fn taken_pool(&self, name: &str) -> Option<Pool> {
        let added = self.added.iter().position(|(added, _)| added == name);
        if let Some(index) = added {
            return Some(Pool(1 + index));
        }
        let finder = self.finder.as_ref()?;
        let mut taken = self.taken();
        let known = taken.iter().position(|(known, _)| known == name);
        let index = known.unwrap_or_else(|| {
            if taken.len() < TAKEN_MAX {
                taken.push((name.to_owned(), finder.executor(name)));
            }
            taken.len() - 1
        });
        Some(Pool(1 + self.added.len() + index))
    }

    pub(crate) fn pool(&self, pool: Pool) -> Arc<dyn Executor> {
        let Some(index) = pool.0.checked_sub(1) else { return Arc::clone(&self.builtin) };
        if let Some((_, executor)) = self.added.get(index) {
            return Arc::clone(executor);
        }
        let taken = self.taken();
        let taken = index.checked_sub(self.added.len()).and_then(|index| taken.get(index));
        Arc::clone(taken.map_or(&self.builtin, |(_, executor)| executor))
    }

    /// Those that were there at the start, and those that the finder was asked for.
    pub(crate) fn all(&self) -> Vec<Arc<dyn Executor>> {
        let taken = self.taken();
        let taken = taken.iter().map(|(_, executor)| executor);
        self.fixed().chain(taken).map(Arc::clone).collect()
    }

    fn fixed(&self) -> impl Iterator<Item = &Arc<dyn Executor>> {
        std::iter::once(&self.builtin).chain(self.added.iter().map(|(_, executor)| executor))
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Named>> {
        // Entries are only added, each in one step.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much there is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Dispatches that are in memory, because something is under way in them.
    pub dispatches: usize,
    /// Electrons that wait for a slot.
    pub queued: usize,
    /// Attempts that are under way, and those that runners have at hand because tasks are quick.
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
        self.executors().all().iter().map(|executor| executor.slots()).sum()
    }

    /// How much there is to do now. Asks no store.
    #[must_use]
    pub fn load(&self) -> Load {
        let (queued, running) = self.shared().admission.load();
        let slots = self.slots();
        Load { dispatches: self.shared().registry.len(), queued, running, slots }
    }
}
