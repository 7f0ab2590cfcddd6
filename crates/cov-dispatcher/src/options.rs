//! What can be set about the dispatcher.

use std::sync::Arc;
use std::time::Duration;

use cov_engine::event::OnRestart;

use crate::metrics::Metrics;
use crate::programs::ProgramAddresses;

/// Settings of the dispatcher.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most nodes that one workflow may have.
    pub nodes_max: usize,
    /// Largest upload, in bytes.
    pub upload_bytes_max: u64,
    /// What becomes of attempts that were under way when the server stopped.
    pub on_restart: OnRestart,
    /// How long a caller waits for a step to become durable before it is told to try again.
    pub reply_timeout: Duration,
    /// Where it is counted what becomes durable.
    pub metrics: Metrics,
    /// Where workers of engines outside fetch programs. Without it, those engines run none.
    pub program_addresses: Option<Arc<dyn ProgramAddresses>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes_max: 2_000_000,
            upload_bytes_max: 16 * 1024 * 1024 * 1024,
            on_restart: OnRestart::Rerun,
            reply_timeout: Duration::from_secs(30),
            metrics: Metrics::default(),
            program_addresses: None,
        }
    }
}

/// Messages that one owner's mailbox holds; senders wait beyond that.
pub(crate) const MAILBOX_MESSAGES_MAX: usize = 1_024;

/// Changes of one dispatch that wait behind a commit; no more of its tasks begin beyond that, so
/// that a store that is away does not fill the memory with results.
pub(crate) const CHANGES_AHEAD_MAX: usize = 4_096;

/// Callers who wait for one step of one dispatch; further ones are told to try again.
pub(crate) const REPLIES_MAX: usize = 1_024;

/// Dispatches that are read from the store at the same time.
pub(crate) const LOADS_MAX: usize = 4;

/// How long each part of the dispatcher may take for its last steps when the server stops.
pub(crate) const LAST_STEPS_MAX: Duration = Duration::from_secs(3);

/// Messages that an owner takes before it looks for a commit to send.
pub(crate) const MESSAGES_PER_STEP_MAX: usize = 256;

/// How long a step that nobody waits for may wait for what happens next: most tasks are followed
/// by others, and two steps in one commit cost half. Timers count in milliseconds.
pub(crate) const STEP_WAIT_MAX: Duration = Duration::from_millis(1);

/// Change sets that one transaction holds.
pub(crate) const COMMIT_SETS_MAX: usize = 512;

/// Change sets that wait for the committer; senders wait beyond that.
pub(crate) const COMMIT_QUEUE_MAX: usize = 1_024;

/// The first pause before a failed commit is tried again; it doubles with each further one.
pub(crate) const COMMIT_RETRY_FIRST: Duration = Duration::from_millis(50);

/// The longest pause between two tries of a commit.
pub(crate) const COMMIT_RETRY_MAX: Duration = Duration::from_secs(5);
