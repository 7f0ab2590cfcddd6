//! The local executor: pools of warm runners on this machine.
//!
//! For Python, a zygote process imports what tasks need and forks runners from itself: see
//! `python/cov_runner` for their side. Programs that bring their own electrons are started by the
//! keeper, and are runners themselves: see `cov::runner`. Each runner is connected to the server by
//! a socket pair of its own and runs one task after the other. Nothing here listens on an address.

pub(crate) mod capture;
mod command;
mod common;
mod ends;
mod pace;
mod pool;
mod program;
pub(crate) mod python;
mod queue;
pub(crate) mod runner;
pub(crate) mod wire;
mod zygote;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::{AttemptId, ContentId};
use tokio::sync::mpsc;

use crate::{Error, Executor, Lane, Metrics, Program, Report, Runtime, Task};
use command::Commands;
use common::Common;
use pool::{Kind, Pool};

/// Payloads up to this travel in frames, larger ones by file. Bytes.
pub const INLINE_BYTES_MAX: usize = 128 * 1024;

/// How the local executor runs.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// The Python that runs tasks. Otherwise `$VIRTUAL_ENV/bin/python`, otherwise `python3` on
    /// PATH.
    pub python: Option<PathBuf>,
    /// Whether the first Python runners come up at once, and not with the first task for them.
    pub warm: bool,
    /// How many tasks run at once; at least one.
    pub workers: usize,
    /// For the executor alone: its Python files, and what running tasks print. Created if needed,
    /// readable by its owner only.
    pub run_dir: PathBuf,
    /// Where large outputs are left for the receiver of the reports. Created if needed. Files
    /// named `attempt-*` that stand there at the start are removed.
    pub spool_dir: PathBuf,
    /// What tasks see as `COVALENT_DISPATCHER_URL`.
    pub dispatcher_url: String,
    /// What tasks log in with at that address, if they have to.
    pub login: Login,
    /// How long a task that is killed may take between SIGTERM and SIGKILL.
    pub kill_grace: Duration,
    /// Whether runners get cgroups of their own, if the system lets this process make some. What
    /// a killed task started is then killed in one go.
    pub cgroups: bool,
    /// The program that keeps what is no Python: one that calls
    /// [`keeper::init`](crate::keeper::init) first. Otherwise, this one must.
    pub keeper: Option<PathBuf>,
    /// How long a program's runner may wait for its next task before it is ended.
    pub program_idle: Duration,
    /// Where starts and ends of runners are counted.
    pub metrics: Metrics,
}

/// What tasks log in with when they call the server. Its debug form hides it.
#[derive(Clone, Default)]
pub struct Login(Option<String>);

impl Login {
    /// A token of the server.
    #[must_use]
    pub fn with_token(token: impl Into<String>) -> Self {
        Self(Some(token.into()))
    }

    /// The variables in which the SDK and the Rust client look for it.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let Some(token) = &self.0 else { return Vec::new() };
        let headers = format!("{{\"Authorization\": \"Bearer {token}\"}}");
        vec![("COV_TOKEN", token.clone()), ("COVALENT_EXTRA_HEADERS", headers)]
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Login(token)" } else { "Login(none)" })
    }
}

impl LocalOptions {
    /// Options with the defaults: the interpreter that is found, warm, as many workers as the machine
    /// has cores, two seconds between SIGTERM and SIGKILL, cgroups, this program as the keeper, a
    /// minute for idle programs.
    #[must_use]
    pub fn new(run_dir: PathBuf, spool_dir: PathBuf, dispatcher_url: String) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let kill_grace = Duration::from_secs(2);
        Self {
            python: None,
            warm: true,
            workers,
            run_dir,
            spool_dir,
            dispatcher_url,
            login: Login::default(),
            kill_grace,
            cgroups: true,
            keeper: None,
            program_idle: Duration::from_secs(60),
            metrics: Metrics::default(),
        }
    }
}

/// A pool for each program, and each limit of memory that its processes run under.
type Programs = HashMap<(ContentId, Option<u64>), Arc<Pool>>;

/// Runs tasks in warm processes. Dropping it ends them all, as [`Executor::stop`] does, but
/// without waiting.
#[derive(Debug)]
pub struct LocalExecutor {
    common: Arc<Common>,
    python: Arc<Pool>,
    programs: Mutex<Programs>,
    commands: Arc<Commands>,
}

impl LocalExecutor {
    /// Starts the executor and returns at once: the first Python runners come up in the
    /// background if the options say so, all others with their first task. When they cannot (no Python, no cloudpickle),
    /// tasks fail with a message that says what to do, and each further task tries again.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    #[must_use]
    pub fn start(options: LocalOptions, reports: mpsc::Sender<Report>) -> Self {
        let common = Arc::new(Common::new(options, reports));
        let python = Arc::new(Pool::new(Arc::clone(&common), Kind::Python));
        if common.options.warm {
            python.start();
        }
        let commands = Arc::new(Commands::new(Arc::clone(&common)));
        Self { common, python, programs: Mutex::default(), commands }
    }

    fn programs(&self) -> MutexGuard<'_, Programs> {
        // Entries are only added, each in one step.
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        let programs = self.programs();
        programs.values().chain([&self.python]).map(Arc::clone).collect()
    }

    fn pool_of(&self, program: &Program) -> Arc<Pool> {
        let key = (program.digest, program.memory_bytes_max);
        let new = || Arc::new(Pool::new(Arc::clone(&self.common), Kind::Program(program.clone())));
        Arc::clone(self.programs().entry(key).or_insert_with(new))
    }

    fn close(&self) {
        self.common.stopping.cancel();
        self.pools().iter().for_each(|pool| pool.close());
        self.common.tasks.close();
    }
}

impl Drop for LocalExecutor {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Executor for LocalExecutor {
    fn slots(&self) -> usize {
        self.common.workers()
    }

    fn room(&self, lane: Lane) -> usize {
        match lane {
            Lane::Python => self.python.room(),
            Lane::Program(digest, memory_bytes_max) => {
                let pool = self.programs().get(&(digest, memory_bytes_max)).map(Arc::clone);
                pool.map_or(self.slots(), |pool| pool.room())
            }
            Lane::Other => self.slots(),
        }
    }

    async fn submit(&self, task: Task) -> Result<(), Error> {
        if self.common.stopping.is_cancelled() {
            return Err(Error::Stopping);
        }
        match &task.runtime {
            Runtime::Python => self.python.submit(task),
            Runtime::Program(program) => self.pool_of(program).submit(task),
            Runtime::Command => {
                self.commands.submit(task);
                Ok(())
            }
        }
    }

    async fn kill(&self, attempt: AttemptId) {
        self.commands.kill(attempt);
        self.pools().iter().for_each(|pool| pool.kill(attempt));
    }

    async fn live_output(&self, attempt: AttemptId) -> Option<(Bytes, Bytes)> {
        if let Some(output) = self.commands.live_output(attempt).await {
            return Some(output);
        }
        for pool in self.pools() {
            if let Some(output) = pool.live_output(attempt).await {
                return Some(output);
            }
        }
        None
    }

    async fn stop(&self) {
        self.close();
        self.common.tasks.wait().await;
    }
}
