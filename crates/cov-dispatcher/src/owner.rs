//! The owner of one dispatch: receives what happens to it, asks the engine what follows, hands
//! the changes to the committer, performs what may be performed at once, and the rest when the
//! changes are durable. One commit is in flight at a time; what happens meanwhile goes into the
//! next.

mod handing;
mod load;
mod message;
mod newborn;
mod pending;
mod quarantine;
mod step;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::status::Status;
use cov_engine::dispatch::Dispatch;
use cov_engine::effect::Effect;
use cov_engine::event::Event;
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;

use crate::committer::{Acknowledgement, Patience};
use crate::executors::Slot;
use crate::options::{LAST_STEPS_MAX, MAILBOX_MESSAGES_MAX, MESSAGES_PER_STEP_MAX, STEP_WAIT_MAX};
use crate::owner::load::Loaded;
pub(crate) use crate::owner::message::{ChildOutcome, Delivery, Message};
pub(crate) use crate::owner::newborn::{Newborn, bear};
use crate::owner::pending::Pending;
pub(crate) use crate::owner::pending::Reply;
use crate::registry::{Ended, Live};
use crate::reports::Stopping;
use crate::service::Shared;
use crate::{Error, effects};

/// What an owner is made for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// To go on with what was under way.
    Resume,
    /// To serve a message that is about to come.
    Serve,
    /// To bring a new dispatch into the store and start it, and to tell how that went.
    Bear(Box<Newborn>, Reply),
}

/// Makes the owner of `dispatch` and runs it until it retires.
pub(crate) fn spawn(shared: &Arc<Shared>, dispatch: DispatchId, purpose: Purpose) -> Live {
    let (mailbox, messages) = mpsc::channel(MAILBOX_MESSAGES_MAX);
    let live = Live::new(mailbox.clone());
    // It outlives the request that brings it about, so it stands beside that, not below it.
    let span = tracing::info_span!(parent: None, "dispatch", dispatch.id = %dispatch);
    span.follows_from(tracing::Span::current());
    let shared = Arc::clone(shared);
    let tracker = shared.tasks.clone();
    tracker.spawn(run(shared, dispatch, mailbox, messages, purpose).instrument(span));
    live
}

async fn run(
    shared: Arc<Shared>,
    id: DispatchId,
    mailbox: mpsc::Sender<Message>,
    mut messages: mpsc::Receiver<Message>,
    purpose: Purpose,
) {
    let resumes = matches!(purpose, Purpose::Resume);
    // A dispatch is loaded after the first message came, so that what was stored before a start
    // is seen by it.
    let (mut first, mut newborn) = match purpose {
        Purpose::Resume => (None, None),
        Purpose::Serve => tokio::select! {
            message = messages.recv() => (message, None),
            () = shared.stopping.cancelled() => (None, None),
        },
        Purpose::Bear(newborn, reply) => (None, Some((newborn, reply))),
    };
    let mut reloads = 0;
    let retirement = loop {
        // Later, whatever was under way has been killed by an owner that could not go on.
        let attaches = resumes && reloads == 0;
        let outcome = if let Some((newborn, reply)) = newborn.take() {
            let owner = Owner::bearing(&shared, &id, &mailbox, *newborn, reply);
            live(owner, &mut messages, None).await
        } else {
            match load::load_patiently(&shared, &id, first.is_none(), attaches).await {
                Ok(loaded) => {
                    let mut owner = Owner::new(&shared, &id, &mailbox, loaded);
                    owner.attaches = attaches;
                    live(owner, &mut messages, first.take()).await
                }
                Err(error) => Retirement::Failed(error),
            }
        };
        match outcome {
            Retirement::Reload if reloads < load::RELOADS_MAX => reloads += 1,
            outcome => break outcome,
        }
    };
    retire(&shared, &id, messages, first, &retirement).await;
}

/// Runs an owner until it ends, also by a panic: then what was under way is told off, and the
/// dispatch is loaded again.
async fn live(
    mut owner: Owner,
    messages: &mut mpsc::Receiver<Message>,
    first: Option<Message>,
) -> Retirement {
    let outcome = AssertUnwindSafe(owner.run(messages, first)).catch_unwind().await;
    let retirement = outcome.unwrap_or(Retirement::Reload);
    match retirement {
        Retirement::Reload => owner.abandon().await,
        Retirement::Unborn => owner.give_back_slots(),
        _ => {}
    }
    owner.held.drain(..).for_each(|(_, slot)| owner.shared.admission.decline(slot));
    retirement
}

/// Leaves the registry first, so that the next caller makes a new owner, then answers those who
/// came too late for this one.
async fn retire(
    shared: &Shared,
    id: &DispatchId,
    mut messages: mpsc::Receiver<Message>,
    first: Option<Message>,
    retirement: &Retirement,
) {
    if let Retirement::Failed(error) = retirement
        && !matches!(error, Error::DispatchNotFound { .. } | Error::Stopping)
    {
        tracing::error!(error = error as &dyn std::error::Error, "the dispatch is set aside");
        quarantine::set_aside(shared, id, error).await;
    }
    let ended = match retirement {
        Retirement::Idle(ended) => *ended,
        _ => None,
    };
    shared.registry.remove(id, ended);
    messages.close();
    let mut late = match first {
        None => messages.recv().await,
        first => first,
    };
    while let Some(message) = late {
        match message {
            Message::Start(reply) | Message::Cancel(_, reply) | Message::Link { reply, .. } => {
                // Without a reason they see a closed channel and ask the next owner.
                if let Some(error) = retirement.reason() {
                    reply.send(Err(error)).ok();
                }
            }
            Message::Granted { slot, .. } => shared.admission.decline(slot),
            Message::Accepted { .. }
            | Message::Ended(_)
            | Message::ChildEnded(_)
            | Message::Imported { .. }
            | Message::Event(_) => {}
        }
        late = messages.recv().await;
    }
}

/// Why an owner ended.
#[derive(Debug)]
enum Retirement {
    /// Nothing is under way in the dispatch, which has ended or was not started.
    Idle(Option<Ended>),
    /// The server is stopping.
    Stopping,
    /// A step could not be stored: what is in memory is ahead of the truth.
    Reload,
    /// The dispatch could not be loaded.
    Failed(Error),
    /// The dispatch could not be brought into the store; who asked for that was told.
    Unborn,
}

impl Retirement {
    /// What those are told who came too late.
    fn reason(&self) -> Option<Error> {
        match self {
            // Whoever asks the next owner finds what the store has.
            Self::Idle(_) | Self::Unborn => None,
            Self::Stopping => Some(Error::Stopping),
            Self::Reload => Some(Error::Internal("its steps cannot be stored".to_owned())),
            Self::Failed(error) => Some(error.again()),
        }
    }
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
    /// Nodes with a slot, which begin when the store has caught up.
    held: Vec<(NodeId, Slot)>,
    /// The time limits of running attempts.
    timers: HashMap<AttemptId, Timer>,
    /// Whether nothing was received since the dispatch was loaded.
    fresh: bool,
    /// Whether what was under way was begun by an earlier life of the server.
    attaches: bool,
    /// Who waits for the registration and the start, while they are not durable.
    unborn: Option<Reply>,
    /// Until when what is pending waits for more.
    waits_until: Option<Instant>,
}

/// A timer that ends with its last mention.
struct Timer(AbortHandle);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct InFlight {
    acknowledgement: Acknowledgement,
    sent: Pending,
    /// The status of the dispatch in this step.
    status: Status,
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
            held: Vec::new(),
            timers: HashMap::new(),
            fresh: true,
            attaches: false,
            unborn: None,
            waits_until: None,
        }
    }

    /// The owner of a dispatch that is not stored yet.
    fn bearing(
        shared: &Arc<Shared>,
        id: &DispatchId,
        mailbox: &mpsc::Sender<Message>,
        newborn: Newborn,
        reply: Reply,
    ) -> Self {
        let Newborn { dispatch, loaded, changes } = newborn;
        let mut owner = Self::new(shared, id, mailbox, (dispatch, loaded));
        owner.pending.changes = changes;
        owner.unborn = Some(reply);
        owner
    }

    async fn run(
        &mut self,
        messages: &mut mpsc::Receiver<Message>,
        first: Option<Message>,
    ) -> Retirement {
        if self.dispatch.is_under_way() {
            let on_restart = self.shared.options.on_restart;
            let attachable = self.attachable();
            self.apply(Event::Restarted { on_restart, attachable });
            // Whatever failed by that was lost.
            self.pending.nodes.clone().into_iter().for_each(|node| self.note_lost(node));
        }
        if self.unborn.is_some() {
            self.apply(Event::Start);
        }
        first.into_iter().for_each(|message| self.receive(message));
        self.fresh = false;
        let stopping = self.shared.stopping.clone();
        loop {
            while self.pending.messages < MESSAGES_PER_STEP_MAX
                && let Ok(message) = messages.try_recv()
            {
                self.receive(message);
            }
            if self.send_commit().await.is_break() {
                return Retirement::Stopping;
            }
            if self.is_idle() && messages.is_empty() {
                return Retirement::Idle(self.how_it_ended());
            }
            tokio::select! {
                outcome = acknowledged(&mut self.in_flight) => {
                    if let Some(retirement) = self.committed(outcome) {
                        return retirement;
                    }
                }
                Some(message) = messages.recv() => self.receive(message),
                () = passed(self.waits_until) => {}
                () = stopping.cancelled() => {
                    let finish = self.finish(messages);
                    if tokio::time::timeout(LAST_STEPS_MAX, finish).await.is_err() {
                        tracing::warn!("the store does not answer: last steps are not stored");
                    }
                    return Retirement::Stopping;
                }
            }
        }
    }

    /// The nodes that an engine outside may still be at work on.
    fn attachable(&self) -> Vec<NodeId> {
        if !self.attaches {
            return Vec::new();
        }
        let may_attach = |node: &NodeId| {
            let has_job = self.loaded.node(*node).is_some_and(|contents| contents.job.is_some());
            has_job && self.phase_attempt(*node).is_some()
        };
        self.dispatch.graph().nodes().filter(may_attach).collect()
    }

    /// Stores what has happened before the server is gone.
    async fn finish(&mut self, messages: &mut mpsc::Receiver<Message>) {
        loop {
            while let Ok(message) = messages.try_recv() {
                self.receive(message);
            }
            if self.send_commit().await.is_break() || self.in_flight.is_none() {
                return;
            }
            let outcome = acknowledged(&mut self.in_flight).await;
            if self.committed(outcome).is_some() {
                return;
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.pending.is_empty() && !self.dispatch.is_under_way()
    }

    /// Whether what is pending had better go together with what happens next.
    fn waits_for_more(&mut self) -> bool {
        let may_wait = self.unborn.is_none()
            && self.dispatch.is_under_way()
            && self.pending.may_wait()
            && !self.shared.stopping.is_cancelled();
        let now = Instant::now();
        let waits = may_wait && now < *self.waits_until.get_or_insert(now + STEP_WAIT_MAX);
        if !waits {
            self.waits_until = None;
        }
        waits
    }

    /// Breaks when the server stops before everything to store could be prepared.
    async fn send_commit(&mut self) -> ControlFlow<()> {
        if self.in_flight.is_some() || self.pending.is_empty() || self.waits_for_more() {
            return ControlFlow::Continue(());
        }
        let mut pending = std::mem::take(&mut self.pending);
        match self.change_set(&mut pending).await {
            Ok(Some(set)) => {
                let status = self.dispatch.state().status;
                // Whoever brings a dispatch can bring it again; what has happened cannot.
                let patience = match self.unborn {
                    Some(_) => Patience::Fail,
                    None => Patience::Retry,
                };
                let acknowledgement = self.shared.committer.submit(set, patience).await;
                self.in_flight = Some(InFlight { acknowledgement, sent: pending, status });
                ControlFlow::Continue(())
            }
            // Nothing to store: what waits for the commit need not.
            Ok(None) => {
                self.release(pending, self.dispatch.state().status);
                ControlFlow::Continue(())
            }
            Err(Stopping) => ControlFlow::Break(()),
        }
    }

    /// The changes are durable, or never will be.
    fn committed(&mut self, outcome: Result<(), Error>) -> Option<Retirement> {
        let InFlight { sent, status, .. } = self.in_flight.take()?;
        match outcome {
            Ok(()) => {
                self.release(sent, status);
                if let Some(reply) = self.unborn.take() {
                    reply.send(Ok(status)).ok();
                    self.begin_what_waits();
                }
                None
            }
            Err(Error::Stopping) => Some(Retirement::Stopping),
            Err(error) => {
                if let Some(reply) = self.unborn.take() {
                    reply.send(Err(error)).ok();
                    return Some(Retirement::Unborn);
                }
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a step cannot be stored"
                );
                sent.refuse();
                Some(Retirement::Reload)
            }
        }
    }

    /// Performs what waited for the commit.
    fn release(&mut self, pending: Pending, status: Status) {
        for reply in pending.replies {
            reply.send(Ok(status)).ok();
        }
        for effect in pending.effects {
            self.perform(effect);
        }
        for (node, slot) in std::mem::take(&mut self.held) {
            self.granted(node, slot);
        }
    }

    /// Performs what had to wait for the registration, and need not wait for its own step.
    fn begin_what_waits(&mut self) {
        let effects = std::mem::take(&mut self.pending.effects);
        let (now, later) = effects.into_iter().partition(Effect::may_precede_commit);
        self.pending.effects = later;
        Vec::into_iter(now).for_each(|effect| self.perform(effect));
    }

    /// Ends the attempts of a dispatch that there is not: none of them got to an executor.
    fn give_back_slots(&self) {
        for attempt in self.shared.admission.attempts_of(&self.mailbox) {
            drop(self.shared.admission.end(attempt));
        }
    }

    /// What is in memory is void: everybody who waits is told, and the attempts of a dispatch
    /// that is loaded again are not those that run.
    async fn abandon(&mut self) {
        let attempts = self.shared.admission.attempts_of(&self.mailbox);
        attempts.into_iter().for_each(|attempt| effects::kill(&self.shared, attempt));
        std::mem::take(&mut self.pending).refuse();
        // A step on its way to the store is there, or not, before the dispatch is loaded.
        if let Some(InFlight { acknowledgement, sent, status }) = self.in_flight.take() {
            match acknowledgement.await {
                Ok(Ok(())) => {
                    sent.replies.into_iter().for_each(|reply| drop(reply.send(Ok(status))));
                }
                Ok(Err(_)) | Err(_) => sent.refuse(),
            }
        }
    }
}

async fn passed(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
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
