//! What a task prints, while it prints it. Ends when the task has ended and all of it was sent,
//! or when the server stops.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::error::ErrorCode;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;
use cov_dispatcher::{Changed, Event, Followed, Handle, Subscription};

use crate::content::{BlobReader, size_of};
use crate::error::Refusal;

/// How often a running task's output is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A log on its way to a client.
struct Following {
    handle: Handle,
    dispatch: DispatchId,
    node: NodeId,
    key: AssetKey,
    /// Bytes that were sent.
    sent: u64,
    reader: Option<BlobReader>,
    events: Subscription,
    ended: bool,
}

/// Answers with the log of a node, from its begin.
pub(super) async fn answer(
    handle: &Handle,
    dispatch: DispatchId,
    node: NodeId,
    key: AssetKey,
) -> Result<Response, Refusal> {
    // Before the state is read, so that no change is missed in between.
    let events = handle.events(None);
    let ended = has_ended(handle, &dispatch, node).await?;
    let handle = handle.clone();
    let following = Following { handle, dispatch, node, key, sent: 0, reader: None, events, ended };
    let step = |mut following: Following| async move {
        Ok::<_, std::io::Error>(following.next().await?.map(|chunk| (chunk, following)))
    };
    let body = Body::from_stream(futures_util::stream::try_unfold(following, step));
    Ok(([(header::CONTENT_TYPE, super::contents::kind_of(key))], body).into_response())
}

async fn has_ended(handle: &Handle, dispatch: &DispatchId, node: NodeId) -> Result<bool, Refusal> {
    let record = handle.record(dispatch).await?;
    let status_of = |state: Status| state.is_terminal();
    match record.nodes.get(node.index()) {
        // A dispatch that has ended runs nothing more, whatever its nodes are.
        Some(found) => Ok(status_of(found.state.status) || status_of(record.summary.status)),
        None => {
            let said = format!("dispatch {dispatch} has no node {node}");
            Err(Refusal::new(ErrorCode::NodeNotFound, said))
        }
    }
}

impl Following {
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        loop {
            if let Some(chunk) = self.chunk().await? {
                return Ok(Some(chunk));
            }
            let was_ended = self.ended;
            if self.open().await? {
                continue;
            }
            // Read once more after the end, since the last lines come with it.
            if was_ended || self.wait().await {
                return Ok(None);
            }
        }
    }

    async fn chunk(&mut self) -> std::io::Result<Option<Bytes>> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        match reader.next().await? {
            Some(chunk) => {
                self.sent += chunk.len() as u64;
                Ok(Some(chunk))
            }
            None => {
                self.reader = None;
                Ok(None)
            }
        }
    }

    /// Begins to read what was not sent yet. Returns whether there is any.
    async fn open(&mut self) -> std::io::Result<bool> {
        let address = AssetAddress::of_node(self.node, self.key);
        let read = self.handle.read_asset(&self.dispatch, address).await;
        let Some(blob) = read.map_err(std::io::Error::other)? else { return Ok(false) };
        let size = size_of(&blob);
        // A new attempt begins a new log.
        if size < self.sent {
            self.sent = 0;
        }
        if size == self.sent {
            return Ok(false);
        }
        self.reader = Some(BlobReader::new(blob, self.sent, size - self.sent));
        Ok(true)
    }

    /// Waits for a change, or a while. Returns whether the server stops.
    async fn wait(&mut self) -> bool {
        let followed = tokio::select! {
            () = self.handle.closed() => return true,
            () = tokio::time::sleep(LOOK_EVERY) => return false,
            followed = self.events.next() => followed,
        };
        match followed {
            None => return true,
            Some(Followed::Events(events)) => {
                self.ended |= events.iter().any(|event| self.is_end(event));
            }
            Some(Followed::Lagged { .. }) => {
                let ended = has_ended(&self.handle, &self.dispatch, self.node).await;
                // A dispatch that is gone has nothing more to say.
                self.ended = ended.unwrap_or(true);
            }
        }
        false
    }

    fn is_end(&self, event: &Event) -> bool {
        event.dispatch == self.dispatch
            && match &event.changed {
                Changed::Node(node, status) => *node == self.node && status.is_terminal(),
                Changed::Dispatch(status) => status.is_terminal(),
                Changed::Registered | Changed::Link(..) => false,
            }
    }
}
