//! The one task that makes steps durable. It gathers the change sets of all dispatches and
//! applies them in one transaction (group commit), then acknowledges each. When a batch is
//! refused, its sets are tried one by one, so that one bad set cannot hold up the others. Knows
//! nothing of what the changes mean.

use std::collections::VecDeque;
use std::sync::Arc;

use cov_store::Store;
use cov_store::model::ChangeSet;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::again;
use crate::events::Feed;
use crate::metrics::Metrics;
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
}

impl Committer {
    /// A committer over `store`, and the task to run for it. The task ends when every sender is
    /// gone, or `finish` is cancelled, and everything that was handed over was tried.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        finish: CancellationToken,
        feed: Feed,
        metrics: Metrics,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (requests, receiver) = mpsc::channel(COMMIT_QUEUE_MAX);
        (Self { requests }, run(Durably { store, feed, metrics }, receiver, finish))
    }

    /// Whether the committer is gone, so that nothing can be changed any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.requests.is_closed()
    }

    /// Hands over a change set. The acknowledgement is closed when the committer is gone.
    pub async fn submit(&self, set: ChangeSet, patience: Patience) -> Acknowledgement {
        let (acknowledge, acknowledgement) = oneshot::channel();
        // A failed send drops the request, which the receiver sees as a closed channel.
        self.requests.send(Request { set, patience, acknowledge }).await.ok();
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

/// The store, and who is told of what it has made durable.
struct Durably {
    store: Arc<dyn Store>,
    feed: Feed,
    metrics: Metrics,
}

impl Durably {
    async fn commit(&self, sets: &[ChangeSet]) -> Result<(), cov_store::Error> {
        let begin = Instant::now();
        if let Err(error) = self.store.commit(sets).await {
            self.metrics.commit_failed();
            return Err(error);
        }
        self.metrics.committed(sets, begin.elapsed());
        self.feed.publish(sets);
        Ok(())
    }
}

/// Requests that wait for the store to answer again.
#[derive(Debug, Default)]
struct Postponed {
    requests: VecDeque<Request>,
    /// How often they were tried since the store last answered.
    tries: u32,
    next_try: Option<Instant>,
}

impl Postponed {
    /// Notes whether the store answered just now. No request of others moves the next try away.
    fn tried(&mut self, store_answers: bool) {
        if store_answers || self.requests.is_empty() {
            self.tries = 0;
        }
        let pause = COMMIT_RETRY_FIRST.saturating_mul(1 << self.tries.min(10));
        let next = Instant::now() + pause.min(COMMIT_RETRY_MAX);
        self.next_try = match self.next_try {
            _ if self.requests.is_empty() => None,
            Some(at) if store_answers => Some(at.min(next)),
            Some(at) => Some(at),
            None => {
                self.tries += 1;
                Some(next)
            }
        };
    }

    fn take_due(&mut self) -> VecDeque<Request> {
        match self.next_try.filter(|at| *at <= Instant::now()) {
            Some(_) => {
                self.next_try = None;
                std::mem::take(&mut self.requests)
            }
            None => VecDeque::new(),
        }
    }

    async fn due(&self) {
        match self.next_try {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

async fn run(store: Durably, mut receiver: mpsc::Receiver<Request>, finish: CancellationToken) {
    let mut postponed = Postponed::default();
    let mut open = true;
    while open || !postponed.requests.is_empty() {
        let mut batch = Vec::new();
        tokio::select! {
            received = receiver.recv_many(&mut batch, COMMIT_SETS_MAX), if open => {
                open = received > 0;
            }
            () = postponed.due() => {}
            () = finish.cancelled() => break,
        }
        let due = postponed.take_due();
        let batch: Vec<Request> = due.into_iter().chain(batch).collect();
        if !batch.is_empty() {
            let store_answers = commit_all(&store, batch, &mut postponed).await;
            postponed.tried(store_answers);
        }
    }
    finish_up(&store, receiver, postponed).await;
}

/// Tries everything that is left once more. What fails is not acknowledged: its sender sees a
/// closed channel.
async fn finish_up(store: &Durably, mut receiver: mpsc::Receiver<Request>, postponed: Postponed) {
    receiver.close();
    let mut left: Vec<Request> = postponed.requests.into();
    while receiver.recv_many(&mut left, COMMIT_SETS_MAX).await > 0 {}
    commit_all(store, left, &mut Postponed::default()).await;
}

/// Commits requests in as few batches as may be. Returns whether the store answers.
async fn commit_all(store: &Durably, mut left: Vec<Request>, postponed: &mut Postponed) -> bool {
    let mut store_answers = true;
    while !left.is_empty() {
        let rest = left.split_off(left.len().min(COMMIT_SETS_MAX));
        store_answers = commit_batch(store, std::mem::replace(&mut left, rest), postponed).await;
    }
    store_answers
}

/// Commits a batch. Returns whether the store answers.
async fn commit_batch(store: &Durably, batch: Vec<Request>, postponed: &mut Postponed) -> bool {
    let (mut sets, mut waiting): (Vec<_>, Vec<_>) = batch.into_iter().map(Request::split).unzip();
    let error = loop {
        let Err(error) = store.commit(&sets).await else {
            waiting.into_iter().for_each(|waiting| waiting.answer(Ok(())));
            return true;
        };
        // The store says who is refused: the others stay together.
        let Some(refused) = sets.iter().rposition(|set| set.is_refused_by(&error)) else {
            break error;
        };
        sets.remove(refused);
        waiting.remove(refused).answer(Err(error));
        if sets.is_empty() {
            return true;
        }
    };
    let mut requests: VecDeque<_> = sets.into_iter().zip(waiting).collect();
    if matches!(error, cov_store::Error::Unavailable(_)) || requests.len() == 1 {
        return settle_all(requests, &error, postponed);
    }
    // A small set may find the space that a large one did not.
    while let Some((set, waiting)) = requests.pop_front() {
        match store.commit(std::slice::from_ref(&set)).await {
            Ok(()) => waiting.answer(Ok(())),
            Err(error @ cov_store::Error::Unavailable(_)) => {
                requests.push_front((set, waiting));
                return settle_all(requests, &error, postponed);
            }
            Err(error) => {
                settle_all(VecDeque::from([(set, waiting)]), &error, postponed);
            }
        }
    }
    true
}

/// What became of requests whose commit failed with `error`. Returns whether the store answers.
fn settle_all(
    requests: VecDeque<(ChangeSet, Waiting)>,
    error: &cov_store::Error,
    postponed: &mut Postponed,
) -> bool {
    let (again_later, refused): (Vec<_>, Vec<_>) = requests
        .into_iter()
        .partition(|(_, waiting)| error.is_transient() && waiting.patience == Patience::Retry);
    refused.into_iter().for_each(|(_, waiting)| waiting.answer(Err(again(error))));
    if !again_later.is_empty() {
        tracing::warn!(
            count = again_later.len(),
            error = error as &dyn std::error::Error,
            "commits failed and are tried again"
        );
    }
    postponed.requests.extend(again_later.into_iter().map(|(set, waiting)| waiting.join(set)));
    !error.is_transient()
}

/// Who waits for a change set.
#[derive(Debug)]
struct Waiting {
    patience: Patience,
    acknowledge: oneshot::Sender<Result<(), cov_store::Error>>,
}

impl Waiting {
    fn answer(self, outcome: Result<(), cov_store::Error>) {
        // The sender may have gone; what it asked for is done all the same.
        self.acknowledge.send(outcome).ok();
    }

    fn join(self, set: ChangeSet) -> Request {
        Request { set, patience: self.patience, acknowledge: self.acknowledge }
    }
}

impl Request {
    fn split(self) -> (ChangeSet, Waiting) {
        let Self { set, patience, acknowledge } = self;
        (set, Waiting { patience, acknowledge })
    }
}
