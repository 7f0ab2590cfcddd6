//! Executors that others made: Covalent's plugins, and Dask, in one Python process beside the
//! server.
//!
//! The process is started when it is first needed and ends with the server; jobs that it
//! submitted elsewhere go on, and are taken up by the next one. See `python/cov_plugins` for its
//! side. Knows no plugin by name, and holds no credentials: those stay in the process.

mod attempts;
mod files;
mod process;
mod supervisor;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::AttemptId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::{Error, Executor, Finder, Found, Job, Metrics, Report, Task};
use supervisor::{Order, Orders, Supervisor};

/// How many tasks one of the executors runs at once, unless something else is said.
pub const CONCURRENCY: usize = 64;

/// How long a look at what a task has printed may take. A plugin can block its own answers.
const SHOW_MAX: Duration = Duration::from_secs(2);

/// How long the search for executors may take: it loads them all.
const FIND_MAX: Duration = Duration::from_secs(120);

/// How the host of plugins runs.
#[derive(Debug, Clone)]
pub struct PluginOptions {
    /// The Python that hosts plugins; chosen as for
    /// [`LocalOptions::python`](crate::local::LocalOptions::python).
    pub python: Option<PathBuf>,
    /// For the host: a folder `plugins` is made in it, readable by its owner only.
    pub run_dir: PathBuf,
    /// Where large outputs are left for the receiver of the reports.
    pub spool_dir: PathBuf,
    /// What plugins see as the dispatcher's address.
    pub dispatcher_url: String,
    /// A folder with executors, one Python file each. Covalent's own settings are heeded too.
    pub executor_dir: Option<PathBuf>,
    /// How many tasks run at once, by the executor's name.
    pub concurrency: BTreeMap<String, usize>,
    /// How many tasks run at once on an executor that `concurrency` does not name.
    pub default_concurrency: usize,
    /// Names of the server's own executors, for those who look for one that there is not.
    pub known: Vec<String>,
    /// How long an executor may take to end a task that is killed, once it says that it will.
    pub kill_grace: Duration,
    /// Where starts of the host are counted.
    pub metrics: Metrics,
}

impl PluginOptions {
    /// Options with the defaults: the interpreter that is found, [`CONCURRENCY`] tasks at once on
    /// each executor, ten seconds for one that is killed.
    #[must_use]
    pub fn new(run_dir: PathBuf, spool_dir: PathBuf, dispatcher_url: String) -> Self {
        Self {
            python: None,
            run_dir,
            spool_dir,
            dispatcher_url,
            executor_dir: None,
            concurrency: BTreeMap::new(),
            default_concurrency: CONCURRENCY,
            known: Vec::new(),
            kill_grace: Duration::from_secs(10),
            metrics: Metrics::default(),
        }
    }

    fn slots(&self, name: &str) -> usize {
        self.concurrency.get(name).copied().unwrap_or(self.default_concurrency).max(1)
    }
}

/// Finds executors in a Python process of its own. Dropping it ends the process, as
/// [`Finder::stop`] does, but without waiting.
#[derive(Debug)]
pub struct PluginHost {
    options: Arc<PluginOptions>,
    orders: Arc<Orders>,
    executors: Mutex<HashMap<String, Arc<PluginExecutor>>>,
}

impl PluginHost {
    /// Makes the host, whose process is started by the first task or the first search.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    #[must_use]
    pub fn new(options: PluginOptions, reports: mpsc::Sender<Report>) -> Self {
        let options = Arc::new(options);
        let orders = Arc::new(Orders::default());
        let supervisor = Supervisor::new(Arc::clone(&options), Arc::clone(&orders), reports);
        orders.tasks.spawn(supervisor.run());
        Self { options, orders, executors: Mutex::default() }
    }
}

impl Drop for PluginHost {
    fn drop(&mut self) {
        self.orders.close();
    }
}

#[async_trait]
impl Finder for PluginHost {
    fn executor(&self, name: &str) -> Arc<dyn Executor> {
        // Entries are only added, each in one step.
        let mut executors = self.executors.lock().unwrap_or_else(PoisonError::into_inner);
        let executor = executors.entry(name.to_owned()).or_insert_with(|| {
            let slots = self.options.slots(name);
            Arc::new(PluginExecutor { slots, orders: Arc::clone(&self.orders) })
        });
        Arc::clone(executor) as Arc<dyn Executor>
    }

    async fn found(&self) -> Result<Vec<Found>, Error> {
        let (sender, receiver) = oneshot::channel();
        self.orders.give(Order::Find(sender))?;
        let found = match timeout(FIND_MAX, receiver).await {
            Ok(Ok(Ok(found))) => found,
            Ok(Ok(Err(message))) => return Err(Error::Start(message)),
            Ok(Err(_)) => return Err(Error::Stopping),
            Err(_) => {
                return Err(Error::Start("the host of executor plugins is silent".to_owned()));
            }
        };
        Ok(found
            .into_iter()
            .map(|found| Found {
                slots: self.options.slots(&found.name),
                name: found.name,
                origin: found.origin,
                attaches: found.managed,
                fault: found.fault,
            })
            .collect())
    }

    async fn stop(&self) {
        self.orders.close();
        self.orders.tasks.wait().await;
    }
}

/// One executor of the host.
#[derive(Debug)]
struct PluginExecutor {
    slots: usize,
    orders: Arc<Orders>,
}

#[async_trait]
impl Executor for PluginExecutor {
    fn slots(&self) -> usize {
        self.slots
    }

    async fn submit(&self, task: Task) -> Result<(), Error> {
        self.orders.give(Order::Submit(Box::new(task)))
    }

    async fn attach(&self, job: Job) -> Result<(), Error> {
        self.orders.give(Order::Attach(Box::new(job)))
    }

    async fn kill(&self, attempt: AttemptId) {
        // One that is stopping ends everything anyway.
        drop(self.orders.give(Order::Kill(attempt)));
    }

    async fn live_output(&self, attempt: AttemptId) -> Option<(Bytes, Bytes)> {
        let (sender, receiver) = oneshot::channel();
        self.orders.give(Order::Show(attempt, sender)).ok()?;
        timeout(SHOW_MAX, receiver).await.ok()?.ok()
    }

    /// Ends the host, and with it its other executors.
    async fn stop(&self) {
        self.orders.close();
        self.orders.tasks.wait().await;
    }
}
