//! What can be set about the dispatcher.

use std::time::Duration;

use cov_engine::event::OnRestart;

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
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes_max: 2_000_000,
            upload_bytes_max: 16 * 1024 * 1024 * 1024,
            on_restart: OnRestart::Rerun,
            reply_timeout: Duration::from_secs(30),
        }
    }
}

/// Messages that one owner's mailbox holds; senders wait beyond that.
pub(crate) const MAILBOX_MESSAGES_MAX: usize = 1_024;

/// Messages that an owner takes before it looks for a commit to send.
pub(crate) const MESSAGES_PER_STEP_MAX: usize = 256;

/// Change sets that one transaction holds.
pub(crate) const COMMIT_SETS_MAX: usize = 512;

/// Change sets that wait for the committer; senders wait beyond that.
pub(crate) const COMMIT_QUEUE_MAX: usize = 1_024;

/// The first pause before a failed commit is tried again; it doubles with each further one.
pub(crate) const COMMIT_RETRY_FIRST: Duration = Duration::from_millis(50);

/// The longest pause between two tries of a commit.
pub(crate) const COMMIT_RETRY_MAX: Duration = Duration::from_secs(5);
