//! Waiting for the end of a dispatch, and for what it returned.

use std::time::Duration;

use cov_core::ids::DispatchId;
use cov_core::status::Status;
use cov_store::Blob;
use tokio::time::sleep;

use crate::registry::Ended;
use crate::{Error, Handle};

impl Handle {
    /// Returns when the dispatch has ended, `at_most` has passed, or the server is stopping; at
    /// once if the dispatch is not under way. Says how it ended if that was waited for.
    pub async fn wait_for_end(&self, dispatch: &DispatchId, at_most: Duration) -> Option<Ended> {
        let live = self.shared.registry.get(dispatch)?;
        tokio::select! {
            () = live.retired.cancelled() => {}
            () = sleep(at_most) => {}
            () = self.shared.closing.cancelled() => {}
        }
        live.ended.get().copied()
    }

    /// What the dispatch returned, waiting at most `at_most` for its end; `None` if that is empty.
    /// Of a dispatch that ended while this waited, nothing is looked up.
    ///
    /// # Errors
    /// There is no such dispatch; it has not completed by then, or ended otherwise; the bytes are
    /// damaged.
    pub async fn result(
        &self,
        dispatch: &DispatchId,
        at_most: Duration,
    ) -> Result<Option<Blob>, Error> {
        let ended = self.wait_for_end(dispatch, at_most).await;
        let status = match ended {
            Some(ended) => ended.status,
            None => self.summary(dispatch).await?.status,
        };
        if status != Status::Completed {
            return Err(Error::not_completed(dispatch, status));
        }
        if let Some(content) = ended.and_then(|ended| ended.result) {
            return Ok(Some(self.shared.contents.read(&content).await?));
        }
        let address = self.result_address(dispatch).await?;
        self.read_asset(dispatch, address).await
    }

    /// Returns when the owner of the dispatch has retired, `at_most` has passed, or owners end
    /// because the server stops.
    pub(crate) async fn until_retired(&self, dispatch: &DispatchId, at_most: Duration) {
        let Some(live) = self.shared.registry.get(dispatch) else { return };
        tokio::select! {
            () = live.retired.cancelled() => {}
            () = sleep(at_most) => {}
            () = self.shared.stopping.cancelled() => {}
        }
    }
}
