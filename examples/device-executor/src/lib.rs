//! An executor of one's own: commands that need a device, of which there is one, so that one runs at
//! a time, while everything else runs beside them. Starts no process itself: it hands tasks to a pool
//! of the kind that every server has.
//!
//! `src/bin/server.rs` is a server that has it. Electrons ask for it by its name, `device`.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::AttemptId;
use cov_exec::local::{LocalExecutor, LocalOptions};
use cov_exec::{Error, Executor, Report, Runtime, Task};
use tokio::sync::mpsc;

/// The name by which electrons ask for it.
pub const NAME: &str = "device";

/// Runs commands one at a time.
#[derive(Debug)]
pub struct DeviceExecutor {
    pool: LocalExecutor,
}

impl DeviceExecutor {
    /// Starts it, with a folder of its own below the server's `data_dir`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start(data_dir: &Path, reports: mpsc::Sender<Report>) -> Self {
        let folder = data_dir.join("run").join(NAME);
        let mut options = LocalOptions::new(folder.clone(), folder.join("spool"), String::new());
        options.workers = 1;
        Self { pool: LocalExecutor::start(options, reports) }
    }
}

#[async_trait]
impl Executor for DeviceExecutor {
    fn slots(&self) -> usize {
        self.pool.slots()
    }

    async fn submit(&self, mut task: Task) -> Result<(), Error> {
        // What the client says to this executor stands in `task.engine`.
        task.runtime = Runtime::Command;
        self.pool.submit(task).await
    }

    async fn kill(&self, attempt: AttemptId) {
        self.pool.kill(attempt).await;
    }

    async fn live_output(&self, attempt: AttemptId) -> Option<(Bytes, Bytes)> {
        self.pool.live_output(attempt).await
    }

    async fn stop(&self) {
        self.pool.stop().await;
    }
}
