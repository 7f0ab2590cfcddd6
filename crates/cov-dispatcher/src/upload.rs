//! One upload: its bytes go to the store chunk by chunk, are checked against what was announced,
//! and become the asset's content, or nothing at all.

use std::sync::Arc;

use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetKey, AssetState, ContentRef};
use cov_core::ids::DispatchId;
use cov_core::result::Summary;
use cov_store::model::{Change, ChangeSet, Query};
use cov_store::{ContentWriter, Staged};

use crate::Error;
use crate::effects::is_registered_only;
use crate::service::Shared;

/// An upload under way. Dropping it leaves everything as it was.
#[derive(Debug)]
pub struct Upload {
    shared: Arc<Shared>,
    dispatch: DispatchId,
    address: AssetAddress,
    purpose: Purpose,
    received: u64,
}

#[derive(Debug)]
enum Purpose {
    /// The bytes become the asset's content if they are as expected.
    Store { writer: Box<dyn ContentWriter>, expected: Option<Announced> },
    /// The dispatch runs with this content; the same bytes are welcome, others are not.
    Compare { writer: Box<dyn ContentWriter>, present: ContentRef },
    /// What a task of a started dispatch sends late, or beside its own report: changes nothing.
    Discard,
}

impl Upload {
    pub(crate) async fn begin(
        shared: &Arc<Shared>,
        summary: &Summary,
        address: AssetAddress,
        asset: Option<AssetState>,
        length: Option<u64>,
    ) -> Result<Self, Error> {
        check_length(shared, address, length)?;
        let started = !is_registered_only(summary.status);
        let made_by_task = address.node.is_some()
            && matches!(
                address.key,
                AssetKey::Output | AssetKey::Stdout | AssetKey::Stderr | AssetKey::Error
            );
        let purpose = match (started, asset) {
            (true, Some(AssetState::Present(present))) if !made_by_task => {
                Purpose::Compare { writer: shared.contents.writer().await?, present }
            }
            (true, _) if made_by_task => Purpose::Discard,
            (true, _) => return Err(started_already(summary, address)),
            (false, asset) => {
                let expected = asset.map(expectation);
                if let (Some(expected), Some(length)) = (expected, length) {
                    check_size(address, expected.size, length)?;
                }
                Purpose::Store { writer: shared.contents.writer().await?, expected }
            }
        };
        let (shared, dispatch) = (Arc::clone(shared), summary.dispatch_id.clone());
        Ok(Self { shared, dispatch, address, purpose, received: 0 })
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    /// The upload is larger than was announced or allowed, or the store cannot take it.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), Error> {
        self.received += chunk.len() as u64;
        check_length(&self.shared, self.address, Some(self.received))?;
        match &mut self.purpose {
            Purpose::Store { writer, expected } => {
                if let Some(expected) = expected.filter(|expected| self.received > expected.size) {
                    return check_size(self.address, expected.size, self.received);
                }
                Ok(writer.write(chunk).await?)
            }
            Purpose::Compare { writer, .. } => Ok(writer.write(chunk).await?),
            Purpose::Discard => Ok(()),
        }
    }

    /// Ends the upload. The asset's bytes are there, durably, on return.
    ///
    /// # Errors
    /// Size or digest are not those that were announced, or the store cannot take it; the asset
    /// stays as it was.
    pub async fn finish(self) -> Result<(), Error> {
        let Self { shared, dispatch, address, purpose, received } = self;
        match purpose {
            Purpose::Discard => Ok(()),
            Purpose::Compare { writer, present } => {
                let staged = writer.finish().await?;
                compare(&dispatch, address, &staged.content, Some(&present))
            }
            // An empty asset is no asset.
            Purpose::Store { expected: None, .. } if received == 0 => Ok(()),
            Purpose::Store { writer, expected } => {
                let staged = writer.finish().await?;
                if let Some(expected) = expected {
                    check_content(address, &expected, &staged.content)?;
                }
                // Also when the sender goes away: it has been checked, and is being stored.
                let (tasks, limit) = (shared.tasks.clone(), shared.options.reply_timeout);
                let storing = tasks.spawn(store(shared, dispatch, address, staged));
                match tokio::time::timeout(limit, storing).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(error)) => {
                        Err(Error::Internal(format!("an upload ended badly: {error}")))
                    }
                    Err(_elapsed) => Err(Error::Overloaded),
                }
            }
        }
    }
}

/// Makes what was uploaded the asset's content, unless the dispatch was started meanwhile.
async fn store(
    shared: Arc<Shared>,
    dispatch: DispatchId,
    address: AssetAddress,
    staged: Staged,
) -> Result<(), Error> {
    let _no_start_is_under_way = shared.gates.for_upload(&dispatch).await;
    let query = Query { ids: vec![dispatch.clone()], limit: 1, ..Query::default() };
    let summary = shared.store.summaries(&query).await?.pop();
    if summary.is_some_and(|summary| !is_registered_only(summary.status)) {
        let present = shared.store.asset(&dispatch, address).await?;
        let present = present.as_ref().and_then(AssetState::content);
        return compare(&dispatch, address, &staged.content, present);
    }
    let Staged { content, small } = staged;
    // The client was asked for these bytes once, whatever number of assets has them.
    let changes = vec![Change::Asset { address, content, small }, Change::Fulfil { content }];
    let at = shared.clock.now();
    shared.committer.commit(ChangeSet { dispatch, at, changes }).await
}

/// A started dispatch runs with `present`; the same bytes are welcome, others are not.
fn compare(
    dispatch: &DispatchId,
    address: AssetAddress,
    uploaded: &ContentRef,
    present: Option<&ContentRef>,
) -> Result<(), Error> {
    match present.is_some_and(|present| present.id == uploaded.id) {
        true => Ok(()),
        false => Err(Error::IllegalState {
            what: format!("dispatch {dispatch} was started with another {address}"),
        }),
    }
}

fn expectation(asset: AssetState) -> Announced {
    match asset {
        AssetState::Awaited(announced) => announced,
        AssetState::Present(content) => Announced { size: content.size, sha1: Some(content.sha1) },
    }
}

fn started_already(summary: &Summary, address: AssetAddress) -> Error {
    Error::IllegalState {
        what: format!(
            "dispatch {} is {}; {address} can only be uploaded before it is started",
            summary.dispatch_id, summary.status
        ),
    }
}

fn check_length(shared: &Shared, address: AssetAddress, length: Option<u64>) -> Result<(), Error> {
    let limit = shared.options.upload_bytes_max;
    match length.filter(|length| *length > limit) {
        Some(size) => {
            Err(Error::TooLarge { what: format!("the upload of {address}"), size, limit })
        }
        None => Ok(()),
    }
}

fn check_size(address: AssetAddress, announced: u64, found: u64) -> Result<(), Error> {
    if announced == found {
        return Ok(());
    }
    let difference = format!("{announced} bytes were announced, {found} came");
    Err(Error::Mismatch { address, difference })
}

pub(crate) fn check_content(
    address: AssetAddress,
    announced: &Announced,
    found: &ContentRef,
) -> Result<(), Error> {
    check_size(address, announced.size, found.size)?;
    match announced.sha1 {
        Some(sha1) if sha1 != found.sha1 => {
            let difference = format!("SHA-1 {sha1} was announced, {} came", found.sha1);
            Err(Error::Mismatch { address, difference })
        }
        Some(_) | None => Ok(()),
    }
}
