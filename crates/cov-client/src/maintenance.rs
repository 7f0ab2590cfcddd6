//! Upkeep of the server's data directory.

use std::time::Duration;

use bytes::Bytes;
use cov_core::status::Status;
use serde::Deserialize;

use crate::client::{Call, Client};
use crate::download::Download;
use crate::error::Error;

/// Which dispatches a purge removes.
///
/// ```
/// use std::time::Duration;
/// let month = Duration::from_secs(30 * 24 * 3600);
/// let purge = cov_client::Purge { older_than: month, statuses: Vec::new(), dry_run: true };
/// assert!(purge.dry_run);
/// ```
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
///
/// ```
/// let text = r#"{"dispatches": 2, "contents": 5, "bytes": 700}"#;
/// let purged: cov_client::Purged = serde_json::from_str(text)?;
/// assert_eq!(purged.bytes, 700);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Purged {
    /// Dispatches, sub-dispatches included.
    pub dispatches: u64,
    /// Contents of assets that no dispatch refers to any more.
    pub contents: u64,
    /// The bytes of those contents.
    pub bytes: u64,
}

/// A backup on its way from the server: a tar archive in the form of [`cov_core::backup`], which
/// is whole only if a [`cov_core::backup::Reader`] has found its end.
///
/// ```no_run
/// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut backup = client.backup().await?;
/// while let Some(bytes) = backup.next().await? {
///     println!("{} bytes", bytes.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Backup(Download);

impl Backup {
    /// The next bytes; `None` behind the last.
    ///
    /// # Errors
    /// The connection broke, or nothing came for as long as one try may take.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut backup = client.backup().await?;
    /// println!("{:?} bytes", backup.next().await?.map(|bytes| bytes.len()));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.0.next().await
    }
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

    /// Begins a backup of everything that the server keeps, while it runs.
    ///
    /// # Errors
    /// Whatever keeps the server from answering. It is sent once.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut backup = client.backup().await?;
    /// let mut check = cov_core::backup::Reader::default();
    /// while let Some(bytes) = backup.next().await? {
    ///     let mut unchecked = &bytes[..];
    ///     while check.next(&mut unchecked)?.is_some() {}
    ///     // Here the bytes are written to a file.
    /// }
    /// println!("{} contents", check.finish()?.contents);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn backup(&self) -> Result<Backup, Error> {
        const PATH: &str = "/api/v3/backup";
        let opened = self.open(&Call::post(PATH)).await?;
        Ok(Backup(Download::new(opened, self.try_timeout())))
    }
}
