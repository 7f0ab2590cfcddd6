//! Calls of the host, which run beside the service's task. Each ends as one [`Done`], also if it
//! panics. Bounded: so many firings at once, all other decisions in one transaction at a time.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cov_core::ids::DispatchId;
use cov_core::trigger::{TriggerId, TriggerRecord, Trouble};
use futures_util::FutureExt as _;
use tokio::task::{AbortHandle, JoinSet};

use super::Number;
use super::changes::Change;
use super::handle::{Answer, Begun};
use crate::host::{Claim, Situation};
use crate::observer::Marks;
use crate::{Error, Trigger, TriggerHost};

/// Firings, and looks at what is under way, that run at once: so many are made durable together at
/// most, so a low number makes more, smaller commits of a burst.
const ACTIONS_MAX: usize = 512;
/// Most decisions in one transaction.
const CLAIMS_MAX: usize = 1_024;
/// How long a stop waits for what has begun.
const FINISH_TIME_MAX: Duration = Duration::from_secs(10);

/// What has been done.
#[derive(Debug)]
pub(super) enum Done {
    Looked(Number, Result<Situation, Error>),
    Fired(Number, Result<DispatchId, Error>),
    Decided(Vec<(Number, Result<(), Error>)>),
    MarksSet(Number, Result<(), Error>),
    Ended(Number, Result<(), Error>),
    Registered(Box<Registered>),
    StateSet(Number, Change, Result<(), Error>),
    Marks(Number, u64, Result<Marks, Error>),
    TroubleSet(Number),
    Cancelled,
    Nothing,
}

/// A trigger that was kept, or not.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) record: Box<TriggerRecord>,
    pub(super) trigger: Arc<dyn Trigger>,
    pub(super) answer: Answer<Begun>,
    pub(super) kept: Result<(), Error>,
}

#[derive(Debug)]
enum Action {
    Look(TriggerId),
    Fire(Box<Claim>),
    Cancel(Vec<DispatchId>),
}

#[derive(Debug)]
pub(super) struct Jobs {
    host: Arc<dyn TriggerHost>,
    running: JoinSet<Done>,
    waits: JoinSet<Done>,
    actions: VecDeque<(Number, Action)>,
    actions_running: usize,
    outbox: VecDeque<(Number, Vec<Claim>)>,
    is_deciding: bool,
}

impl Jobs {
    pub(super) fn new(host: Arc<dyn TriggerHost>) -> Self {
        Self {
            host,
            running: JoinSet::new(),
            waits: JoinSet::new(),
            actions: VecDeque::new(),
            actions_running: 0,
            outbox: VecDeque::new(),
            is_deciding: false,
        }
    }

    pub(super) fn look(&mut self, number: Number, trigger: TriggerId) {
        self.actions.push_back((number, Action::Look(trigger)));
    }

    pub(super) fn fire(&mut self, number: Number, claim: Box<Claim>) {
        self.actions.push_back((number, Action::Fire(claim)));
    }

    pub(super) fn cancel(&mut self, number: Number, dispatches: Vec<DispatchId>) {
        self.actions.push_back((number, Action::Cancel(dispatches)));
    }

    pub(super) fn decide(&mut self, number: Number, claims: Vec<Claim>) {
        self.outbox.push_back((number, claims));
    }

    pub(super) fn set_marks(
        &mut self,
        number: Number,
        trigger: TriggerId,
        marks: Vec<(String, Option<Bytes>)>,
    ) {
        let host = Arc::clone(&self.host);
        self.spawn(async move {
            let set = guarded(host.set_marks(&trigger, marks)).await;
            Done::MarksSet(number, set)
        });
    }

    pub(super) fn set_trouble(
        &mut self,
        number: Number,
        trigger: TriggerId,
        trouble: Option<Trouble>,
    ) {
        let host = Arc::clone(&self.host);
        self.spawn(async move {
            let set = guarded(host.set_trouble(&trigger, trouble.as_ref())).await;
            if let Err(error) = set {
                let id = trigger.as_str();
                tracing::warn!(trigger.id = id, error = %error, "cannot keep a trouble");
            }
            Done::TroubleSet(number)
        });
    }

    /// Waits until a dispatch has ended. The number of those is bounded by the number of
    /// triggers.
    pub(super) fn wait(&mut self, number: Number, dispatch: DispatchId) -> AbortHandle {
        let host = Arc::clone(&self.host);
        self.waits.spawn(async move {
            let ended = guarded(host.ended(&dispatch)).await;
            Done::Ended(number, ended)
        })
    }

    /// Runs something that ends as a [`Done`]. For calls: their number is bounded by the number
    /// of callers, each of whom waits for its answer.
    pub(super) fn spawn(&mut self, job: impl Future<Output = Done> + Send + 'static) {
        self.running.spawn(job);
    }

    /// Begins as much as may run at once.
    pub(super) fn pump(&mut self) {
        while self.actions_running < ACTIONS_MAX {
            let Some((number, action)) = self.actions.pop_front() else {
                break;
            };
            self.actions_running += 1;
            let host = Arc::clone(&self.host);
            self.running.spawn(act(host, number, action));
        }
        if self.actions.is_empty() {
            // The room of a burst is not kept for the next one.
            self.actions.shrink_to(ACTIONS_MAX);
        }
        if !self.is_deciding && !self.outbox.is_empty() {
            self.is_deciding = true;
            let mut batch = Vec::new();
            let mut claims = 0;
            while claims < CLAIMS_MAX
                && let Some((number, decisions)) = self.outbox.pop_front()
            {
                claims += decisions.len();
                batch.push((number, decisions));
            }
            let host = Arc::clone(&self.host);
            self.running.spawn(decide(host, batch));
        }
    }

    /// What is done next; `None` while nothing runs.
    pub(super) async fn next(&mut self) -> Option<Done> {
        let done = tokio::select! {
            Some(done) = self.running.join_next() => done,
            Some(done) = self.waits.join_next() => done,
            else => return None,
        };
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(error = %error, "a job of the trigger service panicked");
                }
                Done::Nothing
            }
        };
        match &done {
            Done::Looked(..) | Done::Fired(..) | Done::Cancelled => self.actions_running -= 1,
            Done::Decided(_) => self.is_deciding = false,
            Done::MarksSet(..)
            | Done::Ended(..)
            | Done::Registered(_)
            | Done::StateSet(..)
            | Done::Marks(..)
            | Done::TroubleSet(_)
            | Done::Nothing => {}
        }
        Some(done)
    }

    /// Waits for what has begun; what has not is left to the next start.
    pub(super) async fn finish(&mut self) {
        self.waits.shutdown().await;
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH_TIME_MAX, all).await.is_err() {
            tracing::warn!("firings that had begun did not end in time");
            self.running.shutdown().await;
        }
    }
}

async fn act(host: Arc<dyn TriggerHost>, number: Number, action: Action) -> Done {
    match action {
        Action::Look(trigger) => Done::Looked(number, guarded(host.situation(&trigger)).await),
        Action::Fire(claim) => Done::Fired(number, guarded(host.fire(*claim)).await),
        Action::Cancel(dispatches) => {
            for dispatch in dispatches {
                if let Err(error) = guarded(host.cancel(&dispatch)).await {
                    let id = dispatch.as_str();
                    tracing::warn!(dispatch.id = id, error = %error, "cannot cancel");
                }
            }
            Done::Cancelled
        }
    }
}

/// Keeps the decisions of several triggers in one transaction. If that fails, each is tried on
/// its own, so that what is wrong with one does not touch the others.
async fn decide(host: Arc<dyn TriggerHost>, batch: Vec<(Number, Vec<Claim>)>) -> Done {
    let all: Vec<Claim> = batch.iter().flat_map(|(_, claims)| claims.iter().cloned()).collect();
    let decided = guarded(host.decide(all)).await;
    if decided.is_ok() || batch.len() == 1 {
        return Done::Decided(batch.iter().map(|(n, _)| (*n, decided.clone())).collect());
    }
    let mut each = Vec::with_capacity(batch.len());
    for (number, claims) in batch {
        each.push((number, guarded(host.decide(claims)).await));
    }
    Done::Decided(each)
}

/// A call of the host that panics is one that failed.
pub(super) async fn guarded<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let caught = AssertUnwindSafe(call).catch_unwind().await;
    caught.unwrap_or_else(|_panic| Err(Error::Unavailable("the host panicked".to_owned())))
}
