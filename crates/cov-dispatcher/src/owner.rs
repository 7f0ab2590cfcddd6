//! The owner of one dispatch: receives what happens to it, asks the engine what follows, hands
//! the changes to the committer, performs what may be performed at once, and the rest when the
//! changes are durable. One commit is in flight at a time; what happens meanwhile goes into the
//! next.

mod load;
mod pending;
mod step;

use std::sync::Arc;

use cov_core::asset::AssetKey;
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_engine::dispatch::Dispatch;
use cov_engine::event::{Event, Outcome};
use cov_engine::phase::End;
use cov_store::Staged;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::Error;
use crate::committer::Acknowledgement;
use crate::options::{MAILBOX_MESSAGES_MAX, MESSAGES_PER_STEP_MAX};
use crate::owner::load::Loaded;
use crate::owner::pending::{Pending, Reply};
use crate::registry::Live;
use crate::service::Shared;

/// What an owner is told.
#[derive(Debug)]
pub enum Message {
    /// Start the dispatch.
    Start(Reply),
    /// Cancel these nodes, or all if there are none.
    Cancel(Vec<NodeId>, Reply),
    /// Make `child` the sub-dispatch of a node.
    Link {
        /// The node.
        node: NodeId,
        /// Its sub-dispatch.
        child: DispatchId,
        /// Where to answer.
        reply: Reply,
    },
    /// The scheduler gave the node a slot.
    Granted {
        /// The node.
        node: NodeId,
    },
    /// An attempt ended.
    Ended(Delivery),
    /// The sub-dispatch of a node ended.
    ChildEnded(ChildOutcome),
    /// What a node built was taken over as a sub-dispatch, or refused with a reason.
    Imported {
        /// The node.
        node: NodeId,
        /// The sub-dispatch, or why there is none.
        outcome: Result<DispatchId, String>,
    },
    /// Anything else that the engine knows.
    Event(Event),
}

/// How an attempt ended, with what it left in the store.
#[derive(Debug)]
pub struct Delivery {
    /// The node.
    pub node: NodeId,
    /// Its attempt.
    pub attempt: AttemptId,
    /// With what it ended.
    pub outcome: Outcome,
    /// Output and captured streams, those that are not empty.
    pub assets: Vec<(AssetKey, Staged)>,
    /// What went wrong, in words.
    pub failure: Option<String>,
}

/// How a sub-dispatch ended.
#[derive(Debug)]
pub struct ChildOutcome {
    /// The parent's node.
    pub node: NodeId,
    /// The sub-dispatch.
    pub child: DispatchId,
    /// How it ended.
    pub end: End,
    /// Its result.
    pub output: Option<cov_core::asset::ContentRef>,
    /// Its error text.
    pub error: Option<cov_core::asset::ContentRef>,
}

/// Makes the owner of `dispatch` and runs it until it retires.
pub(crate) fn spawn(shared: &Arc<Shared>, dispatch: DispatchId) -> Live {
    let (mailbox, messages) = mpsc::channel(MAILBOX_MESSAGES_MAX);
    let live = Live { mailbox: mailbox.clone(), retired: CancellationToken::new() };
    let span = tracing::info_span!("dispatch", dispatch.id = %dispatch);
    let shared = Arc::clone(shared);
    let tracker = shared.tasks.clone();
    tracker.spawn(run(shared, dispatch, mailbox, messages).instrument(span));
    live
}

async fn run(
    shared: Arc<Shared>,
    id: DispatchId,
    mailbox: mpsc::Sender<Message>,
    mut messages: mpsc::Receiver<Message>,
) {
    let mut reloads = 0;
    loop {
        let outcome = match load::load(&shared, &id).await {
            Ok(loaded) => Owner::new(&shared, &id, &mailbox, loaded).run(&mut messages).await,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the dispatch is set aside"
                );
                Retirement::Failed(error)
            }
        };
        match outcome {
            Retirement::Reload if reloads < load::RELOADS_MAX => reloads += 1,
            Retirement::Reload => {
                let reason = "its steps cannot be stored".to_owned();
                break retire(&shared, &id, messages, || Some(Error::Internal(reason.clone())))
                    .await;
            }
            // Callers that came too late see a closed channel and ask the next owner.
            Retirement::Idle => break retire(&shared, &id, messages, || None).await,
            Retirement::Stopping => {
                break retire(&shared, &id, messages, || Some(Error::Stopping)).await;
            }
            Retirement::Failed(error) => {
                let not_found = matches!(error, Error::DispatchNotFound { .. });
                let text = error.to_string();
                let dispatch = id.clone();
                let reason = || match not_found {
                    true => Error::DispatchNotFound { dispatch: dispatch.clone() },
                    false => Error::Internal(text.clone()),
                };
                break retire(&shared, &id, messages, || Some(reason())).await;
            }
        }
    }
}

/// Leaves the registry first, so that the next caller makes a new owner, then answers those who
/// came too late for this one.
async fn retire(
    shared: &Shared,
    id: &DispatchId,
    mut messages: mpsc::Receiver<Message>,
    reason: impl Fn() -> Option<Error>,
) {
    shared.registry.remove(id);
    messages.close();
    while let Some(message) = messages.recv().await {
        match message {
            Message::Start(reply) | Message::Cancel(_, reply) | Message::Link { reply, .. } => {
                if let Some(error) = reason() {
                    reply.send(Err(error)).ok();
                }
            }
            Message::Granted { .. } => shared.admission.decline(),
            Message::Ended(_)
            | Message::ChildEnded(_)
            | Message::Imported { .. }
            | Message::Event(_) => {}
        }
    }
}

/// Why an owner ended.
#[derive(Debug)]
enum Retirement {
    /// Nothing is under way in the dispatch.
    Idle,
    /// The server is stopping.
    Stopping,
    /// A step could not be stored: what is in memory is ahead of the truth.
    Reload,
    /// The dispatch could not be loaded.
    Failed(Error),
}

/// A dispatch in the hands of its owner.
pub(crate) struct Owner {
    shared: Arc<Shared>,
    id: DispatchId,
    mailbox: mpsc::Sender<Message>,
    dispatch: Dispatch,
    loaded: Loaded,
    pending: Pending,
    in_flight: Option<InFlight>,
}

struct InFlight {
    acknowledgement: Acknowledgement,
    sent: Pending,
}

impl Owner {
    fn new(
        shared: &Arc<Shared>,
        id: &DispatchId,
        mailbox: &mpsc::Sender<Message>,
        (dispatch, loaded): (Dispatch, Loaded),
    ) -> Self {
        Self {
            shared: Arc::clone(shared),
            id: id.clone(),
            mailbox: mailbox.clone(),
            dispatch,
            loaded,
            pending: Pending::default(),
            in_flight: None,
        }
    }

    async fn run(mut self, messages: &mut mpsc::Receiver<Message>) -> Retirement {
        if self.dispatch.is_under_way() {
            self.apply(Event::Restarted { on_restart: self.shared.options.on_restart });
        }
        let stopping = self.shared.stopping.clone();
        loop {
            while let Ok(message) = messages.try_recv() {
                self.receive(message);
                if self.pending.messages >= MESSAGES_PER_STEP_MAX {
                    break;
                }
            }
            self.send_commit().await;
            if self.is_idle() && messages.is_empty() {
                return Retirement::Idle;
            }
            tokio::select! {
                outcome = acknowledged(&mut self.in_flight) => {
                    if let Some(retirement) = self.committed(outcome) {
                        return retirement;
                    }
                }
                Some(message) = messages.recv() => self.receive(message),
                () = stopping.cancelled() => return Retirement::Stopping,
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.pending.is_empty() && !self.dispatch.is_under_way()
    }

    async fn send_commit(&mut self) {
        if self.in_flight.is_some() || self.pending.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        let Some(set) = self.change_set(&mut pending).await else {
            // Nothing to store: what waits for the commit need not.
            self.release(pending);
            return;
        };
        let patience = crate::committer::Patience::Retry;
        let acknowledgement = self.shared.committer.submit(set, patience).await;
        self.in_flight = Some(InFlight { acknowledgement, sent: pending });
    }

    /// The changes are durable, or never will be.
    fn committed(&mut self, outcome: Result<(), Error>) -> Option<Retirement> {
        let sent = self.in_flight.take().map(|flight| flight.sent)?;
        match outcome {
            Ok(()) => {
                self.release(sent);
                None
            }
            Err(Error::Stopping) => Some(Retirement::Stopping),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a step cannot be stored"
                );
                sent.refuse();
                std::mem::take(&mut self.pending).refuse();
                self.abandon_attempts();
                Some(Retirement::Reload)
            }
        }
    }

    /// Performs what waited for the commit.
    fn release(&mut self, pending: Pending) {
        for reply in pending.replies {
            reply.send(Ok(())).ok();
        }
        for effect in pending.effects {
            self.perform(effect);
        }
    }

    /// The attempts of a dispatch that is loaded again are not those that run.
    fn abandon_attempts(&self) {
        let attempts =
            self.dispatch.graph().nodes().filter_map(|node| match self.dispatch.phase(node) {
                Some(cov_engine::phase::Phase::Running { attempt, .. }) => Some(*attempt),
                _ => None,
            });
        attempts.for_each(|attempt| self.kill(attempt));
    }
}

async fn acknowledged(in_flight: &mut Option<InFlight>) -> Result<(), Error> {
    match in_flight {
        Some(flight) => match (&mut flight.acknowledgement).await {
            Ok(outcome) => Ok(outcome?),
            Err(oneshot::error::RecvError { .. }) => Err(Error::Stopping),
        },
        None => std::future::pending().await,
    }
}
