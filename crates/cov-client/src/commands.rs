//! What can be done to a dispatch: start it, cancel it or a part of it, dispatch it again. Every
//! one of these calls may be repeated, and is when its answer gets lost.

use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;
use serde::Deserialize;
use serde_json::json;

use crate::client::Client;
use crate::error::Error;

/// What the server says of a dispatch that was made or acted on.
///
/// ```
/// let text = r#"{"dispatch_id": "d-1", "status": "RUNNING"}"#;
/// let accepted: cov_client::Accepted = serde_json::from_str(text)?;
/// assert!(accepted.missing.is_empty());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Accepted {
    /// The dispatch.
    pub dispatch_id: DispatchId,
    /// Its state, as of the answer.
    pub status: Status,
    /// The assets that have to be uploaded before it can start.
    #[serde(default)]
    pub missing: Vec<MissingAsset>,
}

/// An asset that the server waits for.
///
/// ```
/// let asset: cov_client::MissingAsset = serde_json::from_str(r#"{"node": 3, "key": "value"}"#)?;
/// assert_eq!(asset.key, "value");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MissingAsset {
    /// The node that it belongs to; the dispatch itself, if there is none.
    #[serde(default)]
    pub node: Option<NodeId>,
    /// Its name, as in [`cov_core::asset::AssetKey::as_str`].
    pub key: String,
}

/// How to dispatch again what was dispatched before.
///
/// ```
/// let again = cov_client::Redispatch { reuse: true, ..cov_client::Redispatch::default() };
/// assert!(again.start);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redispatch {
    /// The id of the new dispatch; a random one if none is chosen. The same call with the same id
    /// makes no second dispatch, whoever makes it and whenever.
    pub dispatch_id: Option<DispatchId>,
    /// Take over the results of nodes that were complete, instead of running them again.
    pub reuse: bool,
    /// Start it at once.
    pub start: bool,
}

impl Default for Redispatch {
    fn default() -> Self {
        Self { dispatch_id: None, reuse: false, start: true }
    }
}

impl Client {
    /// Starts a registered dispatch. Does nothing to one that was started before.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch;
    /// [`Kind::Refused`](crate::Kind::Refused) while assets are missing; otherwise whatever keeps
    /// the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// println!("{}", client.start(&id).await?.status);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start(&self, dispatch: &DispatchId) -> Result<Accepted, Error> {
        let path = format!("/api/v3/dispatches/{dispatch}/start");
        self.post_json_again(&path, &json!({})).await
    }

    /// Cancels these tasks of a dispatch, or all of them if none is named. The request is durable
    /// on return; the tasks are `CANCELLED` once their processes are gone. What has ended stays
    /// as it is.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch or task; otherwise
    /// whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// client.cancel(&id, &[]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancel(
        &self,
        dispatch: &DispatchId,
        task_ids: &[NodeId],
    ) -> Result<Accepted, Error> {
        let path = format!("/api/v3/dispatches/{dispatch}/cancel");
        self.post_json_again(&path, &json!({ "nodes": task_ids })).await
    }

    /// Dispatches again what was dispatched before, as it was.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch;
    /// [`Kind::Refused`](crate::Kind::Refused) when the chosen id is taken by a dispatch that was
    /// asked for otherwise; otherwise whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let again = client.redispatch(&id, &cov_client::Redispatch::default()).await?;
    /// println!("{} runs", again.dispatch_id);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn redispatch(
        &self,
        dispatch: &DispatchId,
        how: &Redispatch,
    ) -> Result<Accepted, Error> {
        let path = format!("/api/v3/dispatches/{dispatch}/redispatch");
        let id = how.dispatch_id.clone().unwrap_or_else(new_id);
        let body = json!({ "dispatch_id": id, "reuse": how.reuse, "start": how.start });
        self.post_json_again(&path, &body).await
    }
}

/// A random id for a dispatch that this client makes, so that the request may be repeated.
pub(crate) fn new_id() -> DispatchId {
    #[expect(clippy::expect_used, reason = "a UUID is made of characters that ids may have")]
    uuid::Uuid::new_v4().to_string().parse().expect("a UUID is a dispatch id")
}
