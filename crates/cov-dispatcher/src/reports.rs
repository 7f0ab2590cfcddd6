//! The way of a report from the executor to the owner of its attempt. Outputs are written to
//! the store on the way, so that an owner only ever sees contents that are there.

use std::sync::Arc;

use cov_core::asset::{AssetKey, INLINE_BYTES_MAX, SmallContent};
use cov_core::ids::AttemptId;
use cov_engine::event::{Event as EngineEvent, Outcome as EngineOutcome};
use cov_exec::{Ending, Event, Outcome, Payload, Report};
use cov_store::{Contents, Staged};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::admission::{Admission, Work};
use crate::options::{COMMIT_RETRY_FIRST, COMMIT_RETRY_MAX};
use crate::owner::{Delivery, Message};

/// Forwards reports until the executor is gone.
pub async fn run(
    mut reports: mpsc::Receiver<Report>,
    admission: Admission,
    contents: Arc<dyn Contents>,
) {
    while let Some(Report { attempt, event }) = reports.recv().await {
        match event {
            Event::Begun => begun(&admission, attempt).await,
            Event::NotBegun => {
                if let Some(work) = admission.end(attempt) {
                    let node = work.node;
                    let event = EngineEvent::NotBegun { node, attempt };
                    send(&work, Message::Event(event)).await;
                }
            }
            Event::Ended(ending) => {
                if let Some(work) = admission.end(attempt) {
                    deliver(work, attempt, ending, &contents).await;
                }
            }
        }
    }
}

async fn begun(admission: &Admission, attempt: AttemptId) {
    if let Some(work) = admission.work(attempt) {
        let event = EngineEvent::Begun { node: work.node, attempt };
        send(&work, Message::Event(event)).await;
    }
}

async fn send(work: &Work, message: Message) {
    // An owner that has retired has no use for it: the attempt is not its present one.
    work.mailbox.send(message).await.ok();
}

/// Small endings are delivered in line; those with files wait for the disk beside the others.
async fn deliver(work: Work, attempt: AttemptId, ending: Ending, contents: &Arc<dyn Contents>) {
    let has_files = ending.payloads().any(|payload| !is_small(payload));
    if !has_files {
        let message = delivery(&work, attempt, ending, &**contents).await;
        send(&work, message).await;
        return;
    }
    let contents = Arc::clone(contents);
    tokio::spawn(async move {
        let message = delivery(&work, attempt, ending, &*contents).await;
        send(&work, message).await;
    });
}

trait Payloads {
    fn payloads(&self) -> impl Iterator<Item = &Payload>;
}

impl Payloads for Ending {
    fn payloads(&self) -> impl Iterator<Item = &Payload> {
        let output = match &self.outcome {
            Outcome::Completed(output) => Some(output),
            Outcome::Failed { .. } | Outcome::Killed => None,
        };
        [&self.stdout, &self.stderr].into_iter().chain(output)
    }
}

fn is_small(payload: &Payload) -> bool {
    matches!(payload, Payload::Bytes(bytes) if bytes.len() <= INLINE_BYTES_MAX)
}

async fn delivery(
    work: &Work,
    attempt: AttemptId,
    ending: Ending,
    contents: &dyn Contents,
) -> Message {
    let mut assets = Vec::new();
    let mut failure = None;
    let outcome = match ending.outcome {
        Outcome::Completed(output) => {
            take_in(&mut assets, AssetKey::Output, output, contents).await;
            EngineOutcome::Completed
        }
        Outcome::Failed { fault, message } => {
            failure = Some(message);
            EngineOutcome::Failed(fault)
        }
        Outcome::Killed => EngineOutcome::Killed,
    };
    take_in(&mut assets, AssetKey::Stdout, ending.stdout, contents).await;
    take_in(&mut assets, AssetKey::Stderr, ending.stderr, contents).await;
    Message::Ended(Delivery { node: work.node, attempt, outcome, assets, failure })
}

async fn take_in(
    assets: &mut Vec<(AssetKey, Staged)>,
    key: AssetKey,
    payload: Payload,
    contents: &dyn Contents,
) {
    let staged = match payload {
        Payload::Bytes(bytes) if bytes.is_empty() => return,
        Payload::Bytes(bytes) => stage_patiently(contents, bytes).await,
        Payload::File(path) => adopt_patiently(contents, &path).await,
    };
    assets.extend(staged.map(|staged| (key, staged)));
}

/// Stages bytes, patiently: see [`patiently`].
pub(crate) async fn stage_patiently(
    contents: &dyn Contents,
    bytes: bytes::Bytes,
) -> Option<Staged> {
    patiently(|| stage(contents, bytes.clone())).await
}

async fn adopt_patiently(contents: &dyn Contents, path: &std::path::Path) -> Option<Staged> {
    patiently(|| contents.adopt(path)).await.filter(|staged| staged.content.size > 0)
}

/// A store that is full or away is asked again until it answers, since what a task made exists
/// nowhere else.
async fn patiently<F>(mut attempt: impl FnMut() -> F) -> Option<Staged>
where
    F: Future<Output = Result<Staged, cov_store::Error>>,
{
    let mut pause = COMMIT_RETRY_FIRST;
    loop {
        match attempt().await {
            Ok(staged) => return Some(staged),
            Err(error) if error.is_transient() => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an output waits for the store"
                );
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "an output is lost");
                return None;
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(COMMIT_RETRY_MAX);
    }
}

/// Writes bytes to the store, or only names them when they are small.
pub(crate) async fn stage(
    contents: &dyn Contents,
    bytes: bytes::Bytes,
) -> Result<Staged, cov_store::Error> {
    if bytes.len() <= INLINE_BYTES_MAX {
        let small = SmallContent::new(bytes);
        return Ok(Staged { content: small.content, small: Some(small.bytes) });
    }
    let mut writer = contents.writer().await?;
    writer.write(bytes).await?;
    writer.finish().await
}
