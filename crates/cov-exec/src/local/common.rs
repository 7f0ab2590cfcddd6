//! What the pools of one executor share: its options, its folders, its keeper, and the way of
//! reports. Knows no runner.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use cov_core::ids::AttemptId;
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::LocalOptions;
use super::capture::{self, Files, Spool};
use super::pool::{Departed, Kind};
use crate::keeper::Keeper;
use crate::metrics::Cause;
use crate::{Ending, Event, Outcome, Payload, Report};

/// Folder for executables, in the run folder.
const PROGRAMS: &str = "programs";

#[derive(Debug)]
pub(super) struct Common {
    pub(super) options: LocalOptions,
    pub(super) stopping: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) keeper: Keeper,
    reports: mpsc::Sender<Report>,
    runners_made: AtomicU64,
    prepared: OnceCell<()>,
}

impl Common {
    pub(super) fn new(options: LocalOptions, reports: mpsc::Sender<Report>) -> Self {
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let program = options.keeper.clone();
        let (run_dir, cgroups) = (&options.run_dir, options.cgroups);
        let keeper = Keeper::new(program, run_dir, cgroups, stopping.clone(), tasks.clone());
        Self {
            options,
            stopping,
            tasks,
            keeper,
            reports,
            runners_made: AtomicU64::new(0),
            prepared: OnceCell::new(),
        }
    }

    pub(super) fn workers(&self) -> usize {
        self.options.workers.max(1)
    }

    /// A number for a runner that no other of this executor has.
    pub(super) fn next_runner(&self) -> u64 {
        self.runners_made.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts the end of a runner.
    pub(super) fn count_end(&self, kind: &Kind, departed: &Departed) {
        let cause = match departed {
            Departed { killed: true, .. } => Cause::Killed,
            Departed { tasks, .. } if tasks.is_empty() => Cause::Idle,
            Departed { .. } => Cause::Died,
        };
        self.options.metrics.ended(kind.word(), cause);
    }

    /// Where an attempt's large outputs go.
    pub(super) fn spool(&self, attempt: AttemptId) -> Spool {
        Spool::of(&self.options.spool_dir, attempt)
    }

    /// Where executables stand.
    pub(super) fn programs(&self) -> PathBuf {
        self.options.run_dir.join(PROGRAMS)
    }

    /// Lays down the folders, once, and removes what an earlier life left in them.
    ///
    /// # Errors
    /// They cannot be used; the text says so. The next call tries again.
    pub(super) async fn prepare(&self) -> Result<(), String> {
        let prepared = self.prepared.get_or_try_init(|| async {
            let options = self.options.clone();
            let prepared = tokio::task::spawn_blocking(move || prepare(&options)).await;
            prepared.unwrap_or_else(|error| Err(io::Error::other(error)))
        });
        prepared.await.copied().map_err(|error| self.unusable(&error))
    }

    /// Says that the folders cannot be used.
    pub(super) fn unusable(&self, error: &io::Error) -> String {
        let (run_dir, spool_dir) =
            (self.options.run_dir.display(), self.options.spool_dir.display());
        format!("The folders for running tasks ({run_dir}, {spool_dir}) cannot be used: {error}")
    }

    pub(super) async fn report_end(
        &self,
        attempt: AttemptId,
        outcome: Outcome,
        (stdout, stderr): (Payload, Payload),
    ) {
        self.report(attempt, Event::Ended(Ending { outcome, stdout, stderr })).await;
    }

    /// Reports, unless the executor is stopping.
    pub(super) async fn report(&self, attempt: AttemptId, event: Event) {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => {}
            sent = self.reports.send(Report { attempt, event }) => {
                if sent.is_err() {
                    tracing::debug!(%attempt, "nobody takes reports any more");
                }
            }
        }
    }
}

impl Kind {
    /// What metrics call it.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Program(_) => "program",
        }
    }
}

fn prepare(options: &LocalOptions) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(&options.run_dir)?;
    std::fs::set_permissions(&options.run_dir, Permissions::from_mode(0o700))?;
    std::fs::create_dir_all(&options.spool_dir)?;
    capture::clear(&options.spool_dir, Spool::PREFIX)?;
    capture::clear(&options.run_dir, Files::PREFIX)?;
    let programs = options.run_dir.join(PROGRAMS);
    match std::fs::remove_dir_all(&programs) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::fs::create_dir(&programs)
}
