//! What keeps the data directory in order while dispatches run. Decides nothing about a dispatch
//! that has not ended.

use std::time::Duration;

use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_store::BackupReader;
use cov_store::model::{PurgeQuery, Purged};

use crate::{Error, Handle};

impl Handle {
    /// Removes, for good, dispatches that ended at least `older_than` ago and in one of
    /// `statuses`, each with all its sub-dispatches, and every content that nobody refers to any
    /// more. With no `statuses`, all ended ones count. With `dry_run`, nothing is removed. Goes on
    /// to its end also when its caller goes away.
    ///
    /// # Errors
    /// A state is none in which a dispatch has ended, or the store is unavailable; then a part
    /// may be removed.
    pub async fn purge(
        &self,
        older_than: Duration,
        statuses: Vec<Status>,
        dry_run: bool,
    ) -> Result<Purged, Error> {
        self.check_serving()?;
        if let Some(status) = statuses.iter().find(|status| !status.is_terminal()) {
            let what = format!("a dispatch that is {status} has not ended and cannot be purged");
            return Err(Error::IllegalState { what });
        }
        let age = i64::try_from(older_than.as_micros()).unwrap_or(i64::MAX);
        let now = self.shared().clock.now().as_micros();
        let ended_before = Timestamp::from_micros(now.saturating_sub(age).saturating_add(1));
        let query = PurgeQuery { ended_before, statuses, dry_run };
        let store = std::sync::Arc::clone(&self.shared().store);
        let purging = self.shared().tasks.spawn(async move { store.purge(&query).await });
        match purging.await {
            Ok(outcome) => Ok(outcome?),
            Err(error) => Err(Error::Internal(format!("the purge ended badly: {error}"))),
        }
    }

    /// Begins a backup of everything that is stored now, in the form of [`cov_core::backup`].
    /// Dispatches go on meanwhile.
    ///
    /// # Errors
    /// A stored content is damaged, or the store is unavailable or has no space for its snapshot.
    pub async fn backup(&self) -> Result<Box<dyn BackupReader>, Error> {
        self.check_serving()?;
        Ok(self.shared().store.backup().await?)
    }

    /// Whether what is there can still be changed, if nothing new can come.
    pub(crate) fn check_serving(&self) -> Result<(), Error> {
        if self.shared().closing.is_cancelled() { Err(Error::Stopping) } else { Ok(()) }
    }
}
