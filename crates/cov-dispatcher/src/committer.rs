//! The one task that makes steps durable. It gathers the change sets of all dispatches and
//! applies them in one transaction (group commit), then acknowledges each. When a batch fails,
//! its sets are tried one by one, so that one bad set cannot hold up the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cov_store::Store;
use cov_store::model::ChangeSet;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::options::{COMMIT_QUEUE_MAX, COMMIT_RETRY_FIRST, COMMIT_RETRY_MAX, COMMIT_SETS_MAX};

/// What becomes of a change set when the store is full or does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Its sender is told, and decides.
    Fail,
    /// It is tried again until it succeeds: what it records has happened.
    Retry,
}

/// Sends change sets to the committer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Committer {
    requests: mpsc::Sender<Request>,
}

/// Tells when a change set is durable, or why it never will be.
pub type Acknowledgement = oneshot::Receiver<Result<(), cov_store::Error>>;

#[derive(Debug)]
struct Request {
    set: ChangeSet,
    patience: Patience,
    acknowledge: oneshot::Sender<Result<(), cov_store::Error>>,
    tries: u32,
}

impl Committer {
    /// A committer over `store`, and the task to run for it. The task ends when every sender is
    /// gone and everything was tried.
    pub fn new(store: Arc<dyn Store>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (requests, receiver) = mpsc::channel(COMMIT_QUEUE_MAX);
        (Self { requests }, run(store, receiver))
    }

    /// Hands over a change set. The acknowledgement is an error at once when the committer is
    /// gone.
    pub async fn submit(&self, set: ChangeSet, patience: Patience) -> Acknowledgement {
        let (acknowledge, acknowledgement) = oneshot::channel();
        let request = Request { set, patience, acknowledge, tries: 0 };
        // A failed send drops the request, which the receiver sees as a closed channel.
        self.requests.send(request).await.ok();
        acknowledgement
    }

    /// Commits a change set and waits until it is durable.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn commit(&self, set: ChangeSet) -> Result<(), crate::Error> {
        match self.submit(set, Patience::Fail).await.await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(crate::Error::Stopping),
        }
    }
}

async fn run(store: Arc<dyn Store>, mut receiver: mpsc::Receiver<Request>) {
    let mut postponed: VecDeque<Request> = VecDeque::new();
    let mut next_try = Instant::now();
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            received = receiver.recv_many(&mut batch, COMMIT_SETS_MAX) => {
                if received == 0 && postponed.is_empty() {
                    return;
                }
                if received == 0 {
                    tokio::time::sleep_until(next_try).await;
                }
            }
            () = tokio::time::sleep_until(next_try), if !postponed.is_empty() => {}
        }
        if Instant::now() >= next_try {
            batch.extend(postponed.drain(..));
        }
        if batch.is_empty() {
            continue;
        }
        postponed.extend(commit_batch(&*store, batch).await);
        if let Some(tries) = postponed.iter().map(|request| request.tries).max() {
            next_try = Instant::now() + pause_after(tries);
        }
    }
}

fn pause_after(tries: u32) -> Duration {
    COMMIT_RETRY_FIRST.saturating_mul(1 << tries.min(10)).min(COMMIT_RETRY_MAX)
}

/// Commits a batch and returns the requests to try again later.
async fn commit_batch(store: &dyn Store, mut batch: Vec<Request>) -> Vec<Request> {
    let sets: Vec<ChangeSet> = batch.iter_mut().map(Request::take_set).collect();
    if store.commit(&sets).await.is_ok() {
        batch.into_iter().for_each(|request| request.answer(Ok(())));
        return Vec::new();
    }
    let mut again = Vec::new();
    for (request, set) in batch.into_iter().zip(sets) {
        let outcome = store.commit(std::slice::from_ref(&set)).await;
        again.extend(request.settle(set, outcome));
    }
    again
}

impl Request {
    fn take_set(&mut self) -> ChangeSet {
        let dispatch = self.set.dispatch.clone();
        let emptied = ChangeSet { dispatch, at: self.set.at, changes: Vec::new() };
        std::mem::replace(&mut self.set, emptied)
    }

    fn answer(self, outcome: Result<(), cov_store::Error>) {
        // The sender may have gone; what it asked for is done all the same.
        self.acknowledge.send(outcome).ok();
    }

    /// Answers, or returns itself to be tried again.
    fn settle(mut self, set: ChangeSet, outcome: Result<(), cov_store::Error>) -> Option<Self> {
        match outcome {
            Err(error) if error.is_transient() && self.patience == Patience::Retry => {
                tracing::warn!(
                    dispatch.id = %set.dispatch,
                    error = &error as &dyn std::error::Error,
                    "a commit failed and is tried again"
                );
                self.set = set;
                self.tries += 1;
                Some(self)
            }
            outcome => {
                self.answer(outcome);
                None
            }
        }
    }
}
