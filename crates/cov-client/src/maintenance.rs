//! Upkeep of the server's data directory.

use std::time::Duration;

use cov_core::status::Status;
use serde::Deserialize;

use crate::client::Client;
use crate::error::Error;

/// Which dispatches a purge removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// Only those that ended at least this long ago. Whole seconds count.
    pub older_than: Duration,
    /// Only those that ended in one of these states; all that have ended if empty.
    pub statuses: Vec<Status>,
    /// Remove nothing, and say what would be removed.
    pub dry_run: bool,
}

/// What a purge has removed, or would remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Purged {
    /// Dispatches, sub-dispatches included.
    pub dispatches: u64,
    /// Contents of assets that no dispatch refers to any more.
    pub contents: u64,
    /// The bytes of those contents.
    pub bytes: u64,
}

impl Client {
    /// Removes ended dispatches, for good, and what no other dispatch refers to.
    ///
    /// # Errors
    /// Whatever keeps the server from answering. It is sent once; a purge that was interrupted
    /// may have removed a part, or may still be at it.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), cov_client::Error> {
    /// let older_than = std::time::Duration::from_secs(30 * 24 * 60 * 60);
    /// let all = cov_client::Purge { older_than, statuses: Vec::new(), dry_run: true };
    /// println!("{} dispatches would go", client.purge(&all).await?.dispatches);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn purge(&self, purge: &Purge) -> Result<Purged, Error> {
        let body = serde_json::json!({
            "older_than_seconds": purge.older_than.as_secs(),
            "statuses": purge.statuses,
            "dry_run": purge.dry_run,
        });
        self.post_json("/api/v3/purge", &body).await
    }
}
