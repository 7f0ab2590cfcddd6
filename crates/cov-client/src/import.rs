//! Taking over dispatches that ended elsewhere. A call may be repeated: the same dispatch with
//! the same outcome is stored once.

use std::collections::HashSet;

use cov_core::asset::AssetAddress;
use cov_core::ids::DispatchId;
use cov_core::manifest::document::MEDIA_TYPE;
use cov_core::manifest::ended::{EndedDocument, Outcome};
use cov_core::status::Status;
use serde::Deserialize;

use crate::client::{Call, Client};
use crate::commands::MissingAsset;
use crate::error::Error;
use crate::payload::Payload;
use crate::workflow::Workflow;

/// What the server says of a dispatch that it took over.
///
/// ```
/// let text = r#"{"dispatch_id": "d-1", "status": "COMPLETED", "new": false}"#;
/// let imported: cov_client::Imported = serde_json::from_str(text)?;
/// assert!(!imported.new);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Imported {
    /// The dispatch.
    pub dispatch_id: DispatchId,
    /// How it ended.
    pub status: Status,
    /// Whether nothing of it was there before.
    pub new: bool,
    /// Assets whose bytes did not come.
    #[serde(default)]
    pub missing: Vec<MissingAsset>,
}

/// How much of files goes with one request, if not a single one has more. Bytes.
const BATCH_BYTES: u64 = 64 * 1024 * 1024;

/// Files of the workflow that are missing, as many as one request takes.
async fn batch(
    workflow: &Workflow,
    missing: &[MissingAsset],
) -> Result<HashSet<AssetAddress>, Error> {
    let (mut batch, mut bytes) = (HashSet::new(), 0);
    for asset in missing {
        let Ok(key) = asset.key.parse() else { continue };
        let address = AssetAddress { node: asset.node, key };
        let Some((path, size)) = workflow.file_of(address) else { continue };
        bytes += size;
        if bytes > BATCH_BYTES && !batch.is_empty() {
            break;
        }
        // So that a missing file is told as what it is, and not as a connection that broke.
        tokio::fs::File::open(path).await.map_err(|source| Error::file(path, source))?;
        batch.insert(address);
    }
    Ok(batch)
}

impl Client {
    /// Has a dispatch taken over that ended elsewhere. It is kept as it is, under its own id, and
    /// never runs; it can be read and redispatched like any other. Files of the workflow are read
    /// by a server on the same machine, and sent to another one.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) when it makes no sense to the server, or its id is
    /// taken by a dispatch that differs; [`Kind::Workflow`](crate::Kind::Workflow) when one of
    /// its files cannot be read; otherwise whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(
    /// #     client: cov_client::Client,
    /// #     workflow: cov_client::Workflow,
    /// #     outcome: cov_core::manifest::ended::Outcome,
    /// # ) -> Result<(), cov_client::Error> {
    /// let imported = client.import(&workflow, &outcome).await?;
    /// println!("{} is {}", imported.dispatch_id, imported.status);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn import(&self, workflow: &Workflow, outcome: &Outcome) -> Result<Imported, Error> {
        let held = self.held_of(workflow).await?;
        let mut imported = self.send_ended(workflow, outcome, &held, &HashSet::new()).await?;
        let new = imported.new;
        let all: HashSet<u32> = (0..).take(workflow.content_count()).collect();
        // What tasks left cannot be uploaded one by one, as no client brings it otherwise.
        while !imported.missing.is_empty() {
            let (count, batch) =
                (imported.missing.len(), batch(workflow, &imported.missing).await?);
            if batch.is_empty() {
                break;
            }
            imported = self.send_ended(workflow, outcome, &all, &batch).await?;
            if imported.missing.len() >= count {
                break;
            }
        }
        Ok(Imported { new, ..imported })
    }

    async fn send_ended(
        &self,
        workflow: &Workflow,
        outcome: &Outcome,
        held: &HashSet<u32>,
        files_sent: &HashSet<AssetAddress>,
    ) -> Result<Imported, Error> {
        let (document, bodies) = workflow.document(held, files_sent);
        let ended = EndedDocument { workflow: document, outcome: outcome.clone() };
        let text = serde_json::to_vec(&ended).map_err(Error::no_json_form)?;
        let payload = Payload::framed(MEDIA_TYPE, &text, bodies);
        self.json(&Call::post("/api/v3/import").payload(payload).repeatable()).await
    }
}
