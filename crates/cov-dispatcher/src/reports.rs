//! The way of a report from the executor to the owner of its attempt. Outputs are written to
//! the store on the way, so that an owner only ever sees contents that are there.

use std::sync::Arc;

use cov_core::asset::{AssetKey, INLINE_BYTES_MAX, SmallContent};
use cov_core::error::Fault;
use cov_core::ids::AttemptId;
use cov_engine::event::{Event as EngineEvent, OnRestart, Outcome as EngineOutcome};
use cov_exec::{Ending, Event, HANDLE_BYTES_MAX, Outcome, Payload, Report};
use cov_store::{Contents, Staged};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{Admission, Work};
use crate::options::{COMMIT_RETRY_FIRST, COMMIT_RETRY_MAX};
use crate::owner::{Delivery, Message};

/// The server stops before something could be stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopping;

/// Where reports go.
#[derive(Debug, Clone)]
pub(crate) struct Ways {
    pub(crate) admission: Admission,
    pub(crate) contents: Arc<dyn Contents>,
    /// What becomes of attempts of which nobody knows.
    pub(crate) on_restart: OnRestart,
    /// Cancelled when no more reports come: those that came are still forwarded.
    pub(crate) last: CancellationToken,
    /// Cancelled when a store that does not answer is not waited for any more.
    pub(crate) stopping: CancellationToken,
}

/// Forwards reports until the executor is gone, or says that its last has come.
pub(crate) async fn run(mut reports: mpsc::Receiver<Report>, ways: Ways) {
    let deliveries = TaskTracker::new();
    loop {
        let report = tokio::select! {
            biased;
            report = reports.recv() => report,
            () = ways.last.cancelled() => None,
        };
        match report {
            Some(report) => forward(report, &ways, &deliveries).await,
            None => break,
        }
    }
    deliveries.close();
    deliveries.wait().await;
}

async fn forward(report: Report, ways: &Ways, deliveries: &TaskTracker) {
    let Report { attempt, event } = report;
    match event {
        Event::Begun => begun(&ways.admission, attempt).await,
        Event::NotBegun => {
            if let Some(work) = ways.admission.end(attempt) {
                let node = work.node;
                let event = EngineEvent::NotBegun { node, attempt };
                send(&work, Message::Event(event)).await;
            }
        }
        Event::Lost => {
            if let Some(work) = ways.admission.end(attempt) {
                let (node, on_restart) = (work.node, ways.on_restart);
                let event = EngineEvent::Lost { node, attempt, on_restart };
                send(&work, Message::Event(event)).await;
            }
        }
        Event::Accepted { handle } => accepted(attempt, handle, ways).await,
        Event::Ended(ending) => match ways.admission.end(attempt) {
            Some(work) => deliver(work, attempt, ending, ways, deliveries).await,
            None => {
                tracing::debug!(%attempt, "a report of an unknown attempt");
                deliveries.spawn_blocking(move || forget(&ending));
            }
        },
    }
}

/// Removes what an attempt left that nobody waits for.
fn forget(ending: &Ending) {
    for payload in ending.payloads() {
        if let Payload::File(path) = payload
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, "a file of an unknown attempt remains");
        }
    }
}

async fn begun(admission: &Admission, attempt: AttemptId) {
    if let Some(work) = admission.work(attempt) {
        let event = EngineEvent::Begun { node: work.node, attempt };
        send(&work, Message::Event(event)).await;
    }
}

/// What an engine outside calls an attempt, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredJob {
    /// The wire form of the attempt.
    pub(crate) attempt: u64,
    /// What [`Event::Accepted`] told.
    pub(crate) handle: Box<str>,
}

async fn accepted(attempt: AttemptId, handle: Box<str>, ways: &Ways) {
    let Some(work) = ways.admission.work(attempt) else { return };
    if handle.len() > HANDLE_BYTES_MAX {
        tracing::warn!(%attempt, bytes = handle.len(), "a job's handle is too long to be kept");
        return;
    }
    let job = StoredJob { attempt: attempt.to_bits(), handle };
    let Ok(text) = serde_json::to_vec(&job) else { return };
    let staged = stage_patiently(&*ways.contents, text.into(), &ways.stopping).await;
    // Without it, the attempt counts as lost after a restart: nothing worse.
    if let Ok(Ok(staged)) = staged {
        send(&work, Message::Accepted { node: work.node, attempt, staged }).await;
    }
}

async fn send(work: &Work, message: Message) {
    // An owner that has retired has no use for it: the attempt is not its present one.
    work.mailbox.send(message).await.ok();
}

/// Small endings are delivered in line; those with files wait for the disk beside the others.
async fn deliver(
    work: Work,
    attempt: AttemptId,
    ending: Ending,
    ways: &Ways,
    deliveries: &TaskTracker,
) {
    let has_files = ending.payloads().any(|payload| !is_small(payload));
    let ways = ways.clone();
    let delivering = async move {
        match delivery(&work, attempt, ending, &ways).await {
            Ok(delivery) => send(&work, Message::Ended(delivery)).await,
            Err(Stopping) => tracing::warn!(%attempt, "an output could not be stored in time"),
        }
    };
    if has_files {
        deliveries.spawn(delivering);
    } else {
        delivering.await;
    }
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
    ways: &Ways,
) -> Result<Delivery, Stopping> {
    let mut assets = Vec::new();
    let mut failure = None;
    let outcome = match ending.outcome {
        Outcome::Completed(output) => match take_in(output, ways).await? {
            Ok(output) => {
                assets.extend(output.map(|staged| (AssetKey::Output, staged)));
                EngineOutcome::Completed
            }
            // Nobody below could go on without it.
            Err(Lost(reason)) => {
                failure = Some(format!("The task's output could not be stored: {reason}"));
                EngineOutcome::Failed(Fault::Server)
            }
        },
        Outcome::Failed { fault, message } => {
            failure = Some(message);
            EngineOutcome::Failed(fault)
        }
        Outcome::Killed => EngineOutcome::Killed,
    };
    let printed = [(AssetKey::Stdout, ending.stdout), (AssetKey::Stderr, ending.stderr)];
    for (key, payload) in printed {
        if let Ok(Some(staged)) = take_in(payload, ways).await? {
            assets.push((key, staged));
        }
    }
    Ok(Delivery { node: work.node, attempt, outcome, assets, failure })
}

/// Why something cannot be stored, now or ever.
#[derive(Debug)]
pub(crate) struct Lost(String);

/// What a task left, on its way to the store; `None` if it is empty.
async fn take_in(payload: Payload, ways: &Ways) -> Result<Result<Option<Staged>, Lost>, Stopping> {
    let (contents, stopping) = (&*ways.contents, &ways.stopping);
    let staged = match payload {
        Payload::Bytes(bytes) if bytes.is_empty() => return Ok(Ok(None)),
        Payload::Bytes(bytes) => stage_patiently(contents, bytes, stopping).await?,
        Payload::File(path) => patiently(|| contents.adopt(&path), stopping).await?,
    };
    Ok(staged.map(|staged| Some(staged).filter(|staged| staged.content.size > 0)))
}

/// Stages bytes, patiently: see [`patiently`].
pub(crate) async fn stage_patiently(
    contents: &dyn Contents,
    bytes: bytes::Bytes,
    stopping: &CancellationToken,
) -> Result<Result<Staged, Lost>, Stopping> {
    patiently(|| stage(contents, bytes.clone()), stopping).await
}

/// A store that is full or away is asked again until it answers, since what a task made exists
/// nowhere else.
async fn patiently<F>(
    mut attempt: impl FnMut() -> F,
    stopping: &CancellationToken,
) -> Result<Result<Staged, Lost>, Stopping>
where
    F: Future<Output = Result<Staged, cov_store::Error>>,
{
    let mut pause = COMMIT_RETRY_FIRST;
    loop {
        match attempt().await {
            Ok(staged) => return Ok(Ok(staged)),
            Err(error) if error.is_transient() => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an output waits for the store"
                );
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "an output is lost");
                return Ok(Err(Lost(error.to_string())));
            }
        }
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(COMMIT_RETRY_MAX),
            () = stopping.cancelled() => return Err(Stopping),
        }
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
