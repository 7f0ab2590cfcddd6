//! Has executors take up the attempts that engines outside went on with while the server was away.
//! Knows none but those of an earlier life of the server.

use std::sync::Arc;

use bytes::Bytes;
use cov_core::asset::ContentRef;
use cov_core::executor::ExecutorSpec;
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_engine::event::Event;
use cov_exec::Job;
use cov_store::Blob;
use tokio::time::sleep;

use crate::effects::TRY_AGAIN;
use crate::owner::Message;
use crate::reports::{Stopping, StoredJob};
use crate::service::Shared;

/// An attempt that an engine outside went on with.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) dispatch: DispatchId,
    pub(crate) node: NodeId,
    pub(crate) attempt: AttemptId,
    /// What the client says to the executor, and what that one calls the attempt.
    pub(crate) job: Option<(Arc<ExecutorSpec>, ContentRef)>,
}

/// Has the executor take up an attempt of an earlier life of the server.
pub(crate) fn attach(shared: &Arc<Shared>, attachment: Attachment) {
    let shared = Arc::clone(shared);
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        let Attachment { dispatch, node, attempt, job } = attachment;
        let Some((engine, content)) = job else { return lose(&shared, attempt).await };
        let handle = match handle(&shared, attempt, &content).await {
            Ok(Some(handle)) => handle,
            Ok(None) => return lose(&shared, attempt).await,
            // The next start tries again.
            Err(Stopping) => return,
        };
        let executor = shared.admission.executor_of(attempt);
        let job = Job { attempt, dispatch, node, engine, handle };
        match executor.attach(job).await {
            Ok(()) if shared.admission.submitted(attempt) => executor.kill(attempt).await,
            Ok(()) | Err(cov_exec::Error::Stopping) => {}
            Err(error) => {
                tracing::info!(%attempt, %error, "an attempt cannot be taken up again");
                lose(&shared, attempt).await;
            }
        }
    });
}

/// What the engine calls the attempt; `None` if that is not known. Waits for the store also when
/// the attempt is to be killed: it lives until its engine was asked to end it.
async fn handle(
    shared: &Shared,
    attempt: AttemptId,
    content: &ContentRef,
) -> Result<Option<Box<str>>, Stopping> {
    let Some(bytes) = read(shared, content).await? else { return Ok(None) };
    let stored: Option<StoredJob> = serde_json::from_slice(&bytes).ok();
    // An earlier attempt's handle stands there until this one has its own.
    let present = stored.filter(|stored| stored.attempt == attempt.to_bits());
    Ok(present.map(|stored| stored.handle))
}

/// `None` when the content cannot be read, now or ever.
async fn read(shared: &Shared, content: &ContentRef) -> Result<Option<Bytes>, Stopping> {
    loop {
        match shared.contents.read(content).await {
            Ok(Blob::Small(bytes)) => return Ok(Some(bytes)),
            Ok(Blob::File { path, .. }) => {
                return Ok(tokio::fs::read(path).await.ok().map(Bytes::from));
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a job must wait");
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a job is lost");
                return Ok(None);
            }
        }
        tokio::select! {
            () = sleep(TRY_AGAIN) => {}
            () = shared.stopping.cancelled() => return Err(Stopping),
        }
    }
}

/// Nobody can tell what became of the attempt.
async fn lose(shared: &Shared, attempt: AttemptId) {
    let Some(work) = shared.admission.end(attempt) else { return };
    let on_restart = shared.options.on_restart;
    let event = Event::Lost { node: work.node, attempt, on_restart };
    work.mailbox.send(Message::Event(event)).await.ok();
}
