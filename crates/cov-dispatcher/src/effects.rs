//! What the engine asks for, done: tasks handed to the executor, timers, sub-dispatches. Each
//! runs beside its owner and tells the outcome to the owner's mailbox.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use cov_core::asset::{AssetAddress, AssetKey, ContentRef};
use cov_core::error::Fault;
use cov_core::executor::ExecutorSpec;
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::status::Status;
use cov_engine::dispatch::Dispatch;
use cov_engine::event::{Event, Outcome};
use cov_engine::phase::End;
use cov_exec::{Payload, Program, Runtime, Task, WorkDir};
use cov_store::Blob;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::handle::Handle;
use crate::owner::{ChildOutcome, Delivery, Message};
use crate::programs::StoredProgram;
use crate::reports::stage_patiently;
use crate::service::Shared;
use crate::{Error, sublattice};

/// An attempt on its way to the executor.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) dispatch: DispatchId,
    pub(crate) node: NodeId,
    pub(crate) attempt: AttemptId,
    pub(crate) plan: Result<TaskPlan, (Fault, String)>,
}

/// Where the parts of a task are.
#[derive(Debug)]
pub(crate) struct TaskPlan {
    pub(crate) runtime: PlannedRuntime,
    pub(crate) engine: Option<Arc<ExecutorSpec>>,
    pub(crate) work_dir: Option<WorkDir>,
    pub(crate) function: Part,
    pub(crate) hooks: Option<Part>,
    pub(crate) run_callables: bool,
    pub(crate) timed: bool,
    pub(crate) args: Vec<(NodeId, Part)>,
    pub(crate) kwargs: Vec<(String, NodeId, Part)>,
}

/// What runs a task.
#[derive(Debug)]
pub(crate) enum PlannedRuntime {
    /// A runner in Python.
    Python,
    /// A program in the store.
    Program { program: StoredProgram, memory_bytes_max: Option<u64> },
    /// A command, which the function describes.
    Command,
}

/// A content that a task needs.
#[derive(Debug)]
pub(crate) enum Part {
    /// In the store.
    Stored(ContentRef),
    /// On its way there: a task may start ahead of the commit of its inputs.
    Fresh(Bytes),
}

/// Reads what the task needs and hands it to the executor.
pub(crate) fn submit(shared: &Arc<Shared>, submission: Submission) {
    let mut submitting = Box::pin(read_and_hand_over(Arc::clone(shared), submission));
    // Mostly everything is at hand. A task of its own is for those that have to wait.
    let mut context = Context::from_waker(Waker::noop());
    if submitting.as_mut().poll(&mut context).is_pending() {
        shared.tasks.spawn(submitting);
    }
}

async fn read_and_hand_over(shared: Arc<Shared>, submission: Submission) {
    let Submission { dispatch, node, attempt, plan } = submission;
    let task = match plan {
        Ok(plan) => read_task(&shared, dispatch, node, attempt, plan).await,
        Err((fault, message)) => Err(Unready::Failed(fault, message)),
    };
    match task {
        _ if shared.admission.is_unwanted(attempt) => {
            end(&shared, attempt, Outcome::Killed, None).await;
        }
        Ok(task) => hand_over(&shared, task).await,
        Err(Unready::Unwanted) => end(&shared, attempt, Outcome::Killed, None).await,
        Err(Unready::Failed(fault, message)) => {
            end(&shared, attempt, Outcome::Failed(fault), Some(message)).await;
        }
        // The next start runs it again.
        Err(Unready::Stopping) => {}
    }
}

/// Why a task is not handed to the executor.
#[derive(Debug)]
enum Unready {
    Failed(Fault, String),
    /// It was to be killed before it was there.
    Unwanted,
    Stopping,
}

async fn hand_over(shared: &Shared, task: Task) {
    let attempt = task.attempt;
    let executor = shared.admission.executor_of(attempt);
    match executor.submit(task).await {
        Ok(()) if shared.admission.submitted(attempt) => {
            executor.kill(attempt).await;
        }
        // A stopping executor is followed by a restart, which runs the task again.
        Ok(()) | Err(cov_exec::Error::Stopping) => {}
        Err(error) => {
            let outcome = Outcome::Failed(Fault::Executor);
            end(shared, attempt, outcome, Some(error.to_string())).await;
        }
    }
}

/// Ends an attempt that never got to the executor.
async fn end(shared: &Shared, attempt: AttemptId, outcome: Outcome, failure: Option<String>) {
    let Some(work) = shared.admission.end(attempt) else { return };
    let delivery = Delivery { node: work.node, attempt, outcome, assets: Vec::new(), failure };
    work.mailbox.send(Message::Ended(delivery)).await.ok();
}

async fn read_task(
    shared: &Shared,
    dispatch: DispatchId,
    node: NodeId,
    attempt: AttemptId,
    plan: TaskPlan,
) -> Result<Task, Unready> {
    let (sources, parts): (Vec<NodeId>, Vec<Part>) = plan.args.into_iter().unzip();
    let args = sources.into_iter().zip(payloads(shared, attempt, parts).await?).collect();
    let (named, parts): (Vec<(String, NodeId)>, Vec<Part>) =
        plan.kwargs.into_iter().map(|(name, source, part)| ((name, source), part)).unzip();
    let named = named.into_iter().zip(payloads(shared, attempt, parts).await?);
    let kwargs = named.map(|((name, source), payload)| (name, source, payload)).collect();
    let hooks = match plan.hooks {
        Some(content) => Some(payload(shared, attempt, content).await?),
        None => None,
    };
    let runtime = match plan.runtime {
        PlannedRuntime::Python => Runtime::Python,
        PlannedRuntime::Command => Runtime::Command,
        PlannedRuntime::Program { program, memory_bytes_max } => {
            let stored = Part::Stored(program.content);
            let place = program.place.get_or_try_init(|| payload(shared, attempt, stored)).await?;
            let address = match &plan.engine {
                Some(_) => address(shared, &dispatch, &program, place).await?,
                None => None,
            };
            let (digest, content) = (program.content.id, place.clone());
            Runtime::Program(Program { digest, content, address, memory_bytes_max })
        }
    };
    Ok(Task {
        attempt,
        dispatch,
        node,
        runtime,
        engine: plan.engine,
        function: payload(shared, attempt, plan.function).await?,
        hooks,
        run_callables: plan.run_callables,
        args,
        kwargs,
        work_dir: plan.work_dir,
        timed: plan.timed,
    })
}

/// Where an engine's workers get the program; `None` if nobody knows.
async fn address(
    shared: &Shared,
    dispatch: &DispatchId,
    program: &StoredProgram,
    place: &Payload,
) -> Result<Option<String>, Unready> {
    let Some(addresses) = &shared.options.program_addresses else { return Ok(None) };
    let address = program.address(dispatch, place, &**addresses).await;
    address.map(Some).map_err(|error| {
        Unready::Failed(Fault::Server, format!("the program cannot be read: {error}"))
    })
}

async fn payload(shared: &Shared, attempt: AttemptId, part: Part) -> Result<Payload, Unready> {
    payloads(shared, attempt, vec![part]).await?.pop().ok_or_else(unread)
}

/// The store has handed out fewer contents than it was asked for.
fn unread() -> Unready {
    Unready::Failed(Fault::Server, "an input of the task was not read".to_owned())
}

/// The bytes of parts, in order.
async fn payloads(
    shared: &Shared,
    attempt: AttemptId,
    parts: Vec<Part>,
) -> Result<Vec<Payload>, Unready> {
    let stored = parts.iter().filter_map(|part| match part {
        Part::Stored(content) => Some(*content),
        Part::Fresh(_) => None,
    });
    let stored: Vec<ContentRef> = stored.collect();
    let mut read = read_patiently(shared, attempt, &stored).await?.into_iter();
    let payload = |part| match part {
        Part::Fresh(bytes) => Some(Payload::Bytes(bytes)),
        Part::Stored(_) => Some(match read.next()? {
            Blob::Small(bytes) => Payload::Bytes(bytes),
            Blob::File { path, .. } => Payload::File(path),
        }),
    };
    parts.into_iter().map(payload).collect::<Option<_>>().ok_or_else(unread)
}

/// A store that does not answer is asked again: that is no fault of the task.
async fn read_patiently(
    shared: &Shared,
    attempt: AttemptId,
    contents: &[ContentRef],
) -> Result<Vec<Blob>, Unready> {
    loop {
        match shared.contents.read_all(contents).await {
            Ok(blobs) => return Ok(blobs),
            Err(error) if error.is_transient() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an input must wait");
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "an input is lost");
                let message = format!("an input of the task cannot be read: {error}");
                return Err(Unready::Failed(Fault::Server, message));
            }
        }
        tokio::select! {
            () = sleep(TRY_AGAIN) => {}
            () = shared.stopping.cancelled() => return Err(Unready::Stopping),
        }
        if shared.admission.is_unwanted(attempt) {
            return Err(Unready::Unwanted);
        }
    }
}

/// Kills an attempt, now or as soon as the executor has it.
pub(crate) fn kill(shared: &Arc<Shared>, attempt: AttemptId) {
    if shared.admission.kill(attempt) {
        let executor = shared.admission.executor_of(attempt);
        shared.tasks.spawn(async move { executor.kill(attempt).await });
    }
}

/// Sends `event` to the owner after `delay`, unless it has retired by then. Aborting it is safe.
pub(crate) fn send_after(
    shared: &Arc<Shared>,
    mailbox: &mpsc::Sender<Message>,
    delay: Duration,
    event: Event,
) -> AbortHandle {
    let (mailbox, stopping) = (mailbox.downgrade(), shared.stopping.clone());
    let timer = shared.tasks.spawn(async move {
        tokio::select! {
            () = sleep(delay) => {}
            () = stopping.cancelled() => return,
        }
        if let Some(mailbox) = mailbox.upgrade() {
            mailbox.send(Message::Event(event)).await.ok();
        }
    });
    timer.abort_handle()
}

/// Starts a sub-dispatch and tells the parent's owner when it has ended.
pub(crate) fn watch_child(
    shared: &Arc<Shared>,
    mailbox: &mpsc::Sender<Message>,
    parent: &DispatchId,
    node: NodeId,
    child: DispatchId,
) {
    let (handle, mailbox) = (Handle::new(Arc::clone(shared)), mailbox.clone());
    let parent = parent.clone();
    shared.tasks.spawn(async move {
        let outcome = match follow_child(&handle, &parent, node, &child).await {
            Err(Error::Stopping) => return,
            Err(error) => refused_child(&handle, node, child, &error).await,
            Ok(outcome) => Some(outcome),
        };
        if let Some(outcome) = outcome {
            mailbox.send(Message::ChildEnded(outcome)).await.ok();
        }
    });
}

/// The longest wait between two looks at a sub-dispatch. Its end is told at once; this only
/// bounds what a missed notice could cost.
const CHILD_LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The pause before something that the store or an owner did not do is tried again.
pub(crate) const TRY_AGAIN: Duration = Duration::from_secs(1);

async fn follow_child(
    handle: &Handle,
    parent: &DispatchId,
    node: NodeId,
    child: &DispatchId,
) -> Result<ChildOutcome, Error> {
    loop {
        match start_and_wait(handle, parent, node, child).await {
            Ok(Some(outcome)) => return Ok(outcome),
            // Its owner gave up, or the store does not answer.
            Ok(None) => {}
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error),
        }
        pause(handle).await?;
    }
}

async fn start_and_wait(
    handle: &Handle,
    parent: &DispatchId,
    node: NodeId,
    child: &DispatchId,
) -> Result<Option<ChildOutcome>, Error> {
    if let Some(outcome) = child_outcome(handle, node, child).await? {
        return Ok(Some(outcome));
    }
    match handle.start(child).await {
        Err(Error::AssetsMissing { dispatch, missing }) => {
            match sublattice::complete(handle, parent, node, child, &missing).await {
                Ok(()) => drop(handle.start(child).await?),
                Err(error) if error.is_passing() => return Err(error),
                // What it built does not hold them either.
                Err(_) => return Err(Error::AssetsMissing { dispatch, missing }),
            }
        }
        started => drop(started?),
    }
    handle.until_retired(child, CHILD_LOOK_AGAIN).await;
    child_outcome(handle, node, child).await
}

async fn pause(handle: &Handle) -> Result<(), Error> {
    tokio::select! {
        () = sleep(TRY_AGAIN) => Ok(()),
        () = handle.shared().stopping.cancelled() => Err(Error::Stopping),
    }
}

/// A sub-dispatch that cannot be started or read counts as failed, with the reason. `None` when
/// the server stops.
async fn refused_child(
    handle: &Handle,
    node: NodeId,
    child: DispatchId,
    error: &Error,
) -> Option<ChildOutcome> {
    let text = format!("the sub-dispatch {child} cannot run: {error}");
    let shared = handle.shared();
    let staged = stage_patiently(&*shared.contents, text.into(), &shared.stopping).await;
    let content = match staged.ok()? {
        Ok(staged) => shared.keep(&child, AssetKey::Error, staged).await.ok(),
        Err(_lost) => None,
    };
    Some(ChildOutcome { node, child, end: End::Failed, output: None, error: content })
}

/// How `child` ended, or `None` while it has not.
async fn child_outcome(
    handle: &Handle,
    node: NodeId,
    child: &DispatchId,
) -> Result<Option<ChildOutcome>, Error> {
    let Some(end) = End::of(handle.summary(child).await?.status) else { return Ok(None) };
    let shared = handle.shared();
    let content_at = async |address| {
        let state = shared.store.asset(child, address).await?;
        Ok::<_, Error>(state.and_then(|state| state.content().copied()))
    };
    let output = content_at(handle.result_address(child).await?).await?;
    let error = content_at(AssetAddress::of_dispatch(AssetKey::Error)).await?;
    Ok(Some(ChildOutcome { node, child: child.clone(), end, output, error }))
}

/// Cancels all of a sub-dispatch.
pub(crate) fn cancel_child(shared: &Arc<Shared>, child: DispatchId) {
    let handle = Handle::new(Arc::clone(shared));
    shared.tasks.spawn(async move {
        loop {
            match handle.cancel(&child, &[]).await {
                // A restart asks again.
                Ok(_) | Err(Error::Stopping) => return,
                Err(error) if error.is_passing() => {}
                Err(error) => {
                    tracing::warn!(
                        dispatch.id = %child,
                        error = &error as &dyn std::error::Error,
                        "a sub-dispatch cannot be cancelled"
                    );
                    return;
                }
            }
            if pause(&handle).await.is_err() {
                return;
            }
        }
    });
}

/// Takes over what a node built as a sub-dispatch.
pub(crate) fn import_child(
    shared: &Arc<Shared>,
    mailbox: &mpsc::Sender<Message>,
    parent: &DispatchId,
    node: NodeId,
) {
    let (handle, mailbox) = (Handle::new(Arc::clone(shared)), mailbox.clone());
    let parent = parent.clone();
    shared.tasks.spawn(async move {
        let outcome = loop {
            match sublattice::import(&handle, &parent, node).await {
                Ok(child) => break Ok(child),
                Err(Error::Stopping) => return,
                Err(error) if error.is_passing() => {}
                Err(error) => break Err(error.to_string()),
            }
            if pause(&handle).await.is_err() {
                return;
            }
        };
        mailbox.send(Message::Imported { node, outcome }).await.ok();
    });
}

/// The error text of a failed dispatch: its failed nodes, one a line, and below a sub-workflow
/// the failed nodes of that, indented.
pub(crate) async fn failure_summary(
    shared: &Shared,
    id: &DispatchId,
    dispatch: &Dispatch,
) -> String {
    const NAME_CHARS_MAX: usize = 200;
    let mut text = "The following tasks failed:".to_owned();
    let record = match shared.store.record(id).await {
        Ok(record) => record,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "names cannot be read");
            dispatch.failed_nodes().for_each(|node| text.push_str(&format!("\n{node}")));
            return text;
        }
    };
    for node in dispatch.failed_nodes() {
        let stored = record.nodes.get(node.index());
        let name: String = stored
            .map(|stored| stored.name.chars().take(NAME_CHARS_MAX).collect())
            .unwrap_or_default();
        text.push_str(&format!("\n{node}: {name}"));
        if let Some(child) = stored.and_then(|stored| stored.sub_dispatch.as_ref()) {
            text.push_str(&inner_summary(shared, child).await);
        }
    }
    text
}

/// The lines of a failed sub-dispatch, indented.
async fn inner_summary(shared: &Shared, child: &DispatchId) -> String {
    const INNER_BYTES_MAX: usize = 16 * 1024;
    let address = AssetAddress::of_dispatch(AssetKey::Error);
    let content = match shared.store.asset(child, address).await {
        Ok(Some(state)) => state.content().copied(),
        Ok(None) | Err(_) => None,
    };
    let Some(content) = content else { return String::new() };
    let Ok(Blob::Small(bytes)) = shared.contents.read(&content).await else {
        return String::new();
    };
    let text = String::from_utf8_lossy(bytes.get(..INNER_BYTES_MAX).unwrap_or(&bytes)).into_owned();
    text.lines().skip(1).map(|line| format!("\n    {line}")).collect()
}

/// Whether `status` says that a dispatch waits to be started.
pub(crate) fn is_registered_only(status: Status) -> bool {
    status == Status::NewObject
}
