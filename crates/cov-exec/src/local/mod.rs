//! The local executor: a pool of warm Python runners on this machine.
//!
//! A zygote process imports what tasks need and forks runners from itself; each runner is
//! connected to the server by a socket pair of its own and runs one task after the other. See
//! `python/cov_runner` for their side. Nothing here listens on an address.

mod capture;
mod pool;
mod python;
mod runner;
mod wire;
mod zygote;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::AttemptId;
use tokio::sync::mpsc;

use crate::{Error, Executor, Report, Task};
use pool::Pool;

/// Payloads up to this travel in frames, larger ones by file. Bytes.
pub const INLINE_BYTES_MAX: usize = 128 * 1024;

/// How the local executor runs.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// The Python that runs tasks. Otherwise `$VIRTUAL_ENV/bin/python`, otherwise `python3` on
    /// PATH.
    pub python: Option<PathBuf>,
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
    /// How long a task that is killed may take between SIGTERM and SIGKILL.
    pub kill_grace: Duration,
    /// Whether runners get cgroups of their own, if the system lets this process make some. What
    /// a killed task started is then killed in one go.
    pub cgroups: bool,
}

impl LocalOptions {
    /// Options with the defaults: the interpreter that is found, as many workers as the machine
    /// has cores, two seconds between SIGTERM and SIGKILL, cgroups.
    #[must_use]
    pub fn new(run_dir: PathBuf, spool_dir: PathBuf, dispatcher_url: String) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let kill_grace = Duration::from_secs(2);
        Self {
            python: None,
            workers,
            run_dir,
            spool_dir,
            dispatcher_url,
            kill_grace,
            cgroups: true,
        }
    }
}

/// Runs Python tasks in warm processes. Dropping it ends them all, as [`Executor::stop`] does,
/// but without waiting.
#[derive(Debug)]
pub struct LocalExecutor {
    pool: Arc<Pool>,
}

impl LocalExecutor {
    /// Starts the executor and returns at once: the first runners come up in the background. When
    /// they cannot (no Python, no cloudpickle), tasks fail with a message that says what to do,
    /// and each further task tries again.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    #[must_use]
    pub fn start(options: LocalOptions, reports: mpsc::Sender<Report>) -> Self {
        let pool = Arc::new(Pool::new(options, reports));
        pool.start();
        Self { pool }
    }
}

impl Drop for LocalExecutor {
    fn drop(&mut self) {
        self.pool.close();
    }
}

#[async_trait]
impl Executor for LocalExecutor {
    fn slots(&self) -> usize {
        self.pool.workers()
    }

    async fn submit(&self, task: Task) -> Result<(), Error> {
        self.pool.submit(task)
    }

    async fn kill(&self, attempt: AttemptId) {
        self.pool.kill(attempt);
    }

    async fn live_output(&self, attempt: AttemptId) -> Option<(Bytes, Bytes)> {
        self.pool.live_output(attempt).await
    }

    async fn stop(&self) {
        self.pool.close();
        self.pool.gone().await;
    }
}
