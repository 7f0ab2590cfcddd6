//! Shares the slots of each executor among all dispatches, by the engine's scheduler, and knows which
//! attempt belongs to whom. Its lock is held for a few lines at a time, never across an await.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_engine::scheduler::Scheduler;
use cov_exec::{Executor, Lane};
use tokio::sync::{Notify, mpsc};
use tracing::Span;

use crate::executors::{Executors, Pool, Slot};
use crate::metrics::Metrics;
use crate::owner::Message;

/// The slots of all executors. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admission {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    executors: Executors,
    state: Mutex<State>,
    /// Told whenever no attempt is under way any more.
    idle: Notify,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct State {
    /// One for each executor that was asked for, by its pool.
    schedulers: Vec<Scheduler<DispatchId, Work>>,
    /// How many of each kind are taken.
    taken: HashMap<Slot, usize>,
    attempts: HashMap<AttemptId, Attempt>,
    closed: bool,
}

/// A node that wants a slot.
#[derive(Debug, Clone)]
pub struct Work {
    /// Its owner's mailbox.
    pub mailbox: mpsc::Sender<Message>,
    /// The node.
    pub node: NodeId,
    /// The slot that it asks for.
    pub slot: Slot,
}

#[derive(Debug)]
struct Attempt {
    work: Work,
    /// Whether the executor has the task. A kill waits for that.
    submitted: bool,
    kill: bool,
    /// Lasts as long as the attempt, for those who look on.
    span: Span,
}

impl State {
    fn enqueue(&mut self, executors: &Executors, root: DispatchId, work: Work) {
        self.know(executors, work.slot.pool);
        if let Some(scheduler) = self.schedulers.get_mut(work.slot.pool.index()) {
            scheduler.enqueue(root, work);
        }
    }

    /// The next work whose turn it is and for which there is a slot.
    fn grant(&mut self, executors: &Executors) -> Option<Work> {
        let State { schedulers, taken, .. } = self;
        let work = schedulers.iter_mut().enumerate().find_map(|(index, scheduler)| {
            let granted = scheduler.grant();
            granted.or_else(|| grant_ahead(executors, Pool::at(index), taken, scheduler))
        })?;
        *taken.entry(work.slot).or_default() += 1;
        Some(work)
    }

    /// Executors come to be known when they are asked for.
    fn know(&mut self, executors: &Executors, pool: Pool) {
        while self.schedulers.len() <= pool.index() {
            let executor = executors.pool(Pool::at(self.schedulers.len()));
            self.schedulers.push(Scheduler::new(executor.slots()));
        }
    }

    fn release(&mut self, slot: Slot) {
        if let Some(scheduler) = self.schedulers.get_mut(slot.pool.index()) {
            scheduler.release();
        }
        if let Entry::Occupied(mut taken) = self.taken.entry(slot) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

/// More than there are slots, if the executor has use for it. Then all are of one kind, so that no
/// more than so many run at once.
fn grant_ahead(
    executors: &Executors,
    pool: Pool,
    taken: &HashMap<Slot, usize>,
    scheduler: &mut Scheduler<DispatchId, Work>,
) -> Option<Work> {
    if scheduler.queued() == 0 {
        return None;
    }
    let all = scheduler.taken();
    let slot = taken.iter().find(|(slot, count)| slot.pool == pool && **count == all);
    let slot = slot.map(|(slot, _)| *slot).filter(|slot| slot.lane != Lane::Other)?;
    scheduler.grant_ahead(executors.pool(pool).room(slot.lane), |work| work.slot == slot)
}

impl Admission {
    /// Admission to the slots of `executors`.
    #[must_use]
    pub fn new(executors: Executors, metrics: Metrics) -> Self {
        let state = State::default();
        let (state, idle) = (Mutex::new(state), Notify::new());
        Self { inner: Arc::new(Inner { executors, state, idle, metrics }) }
    }

    /// The executors whose slots these are.
    #[must_use]
    pub fn executors(&self) -> &Executors {
        &self.inner.executors
    }

    /// The executor that has `attempt`. The built-in one, if the attempt is over: it ignores what it
    /// does not know.
    #[must_use]
    pub fn executor_of(&self, attempt: AttemptId) -> Arc<dyn Executor> {
        let pool = self.lock().attempts.get(&attempt).map(|entry| entry.work.slot.pool);
        let pool = pool.unwrap_or(Pool::BUILTIN);
        self.inner.executors.pool(pool)
    }

    /// Queues nodes under their root dispatch; each is granted a slot when its turn comes.
    pub fn enqueue(&self, root: &DispatchId, works: impl IntoIterator<Item = Work>) {
        let mut state = self.lock();
        for work in works {
            state.enqueue(&self.inner.executors, root.clone(), work);
        }
        self.grant(state);
    }

    /// Notes that a granted slot is used by `attempt`. Returns whether it may be: no attempt
    /// begins after [`Admission::close`].
    #[must_use]
    pub fn begin(&self, attempt: AttemptId, work: Work) -> bool {
        // Below the span of the dispatch, whose owner calls.
        let span = tracing::info_span!("task", node.id = %work.node, %attempt);
        let entry = Attempt { work, submitted: false, kill: false, span };
        let mut state = self.lock();
        if !state.closed {
            state.attempts.insert(attempt, entry);
            self.inner.metrics.attempt_begun();
        }
        !state.closed
    }

    /// The attempts whose reports go to `mailbox`.
    #[must_use]
    pub fn attempts_of(&self, mailbox: &mpsc::Sender<Message>) -> Vec<AttemptId> {
        let state = self.lock();
        let of_mailbox =
            state.attempts.iter().filter(|(_, entry)| entry.work.mailbox.same_channel(mailbox));
        of_mailbox.map(|(attempt, _)| *attempt).collect()
    }

    /// Notes that `attempt` goes on from an earlier life of the server, and takes up a slot, also
    /// if none is free. False after [`Admission::close`].
    #[must_use]
    pub fn resume(&self, attempt: AttemptId, work: Work) -> bool {
        let slot = work.slot;
        let begins = self.begin(attempt, work);
        if begins {
            let mut state = self.lock();
            state.know(&self.inner.executors, slot.pool);
            state.schedulers.get_mut(slot.pool.index()).into_iter().for_each(Scheduler::take);
            *state.taken.entry(slot).or_default() += 1;
        }
        begins
    }

    /// Gives back a granted slot that nobody uses.
    pub fn decline(&self, slot: Slot) {
        let mut state = self.lock();
        state.release(slot);
        self.grant(state);
    }

    /// Notes that the executor has the task. Returns whether it was to be killed meanwhile.
    #[must_use]
    pub fn submitted(&self, attempt: AttemptId) -> bool {
        match self.lock().attempts.get_mut(&attempt) {
            Some(entry) => {
                entry.submitted = true;
                entry.kill
            }
            None => false,
        }
    }

    /// Whether `attempt` is to be killed.
    #[must_use]
    pub fn is_unwanted(&self, attempt: AttemptId) -> bool {
        self.lock().attempts.get(&attempt).is_some_and(|entry| entry.kill)
    }

    /// Asks for the end of `attempt`. Returns whether the executor is to be told now; otherwise
    /// the task is still on its way there, and [`Admission::submitted`] tells.
    #[must_use]
    pub fn kill(&self, attempt: AttemptId) -> bool {
        match self.lock().attempts.get_mut(&attempt) {
            Some(entry) => {
                entry.kill = true;
                entry.submitted
            }
            None => false,
        }
    }

    /// The span of `attempt`; none if it is over.
    #[must_use]
    pub fn span(&self, attempt: AttemptId) -> Span {
        self.lock().attempts.get(&attempt).map_or_else(Span::none, |entry| entry.span.clone())
    }

    /// How many nodes wait for a slot, and how many attempts are under way.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.schedulers.iter().map(Scheduler::queued).sum(), state.attempts.len())
    }

    /// Whose attempt this is.
    #[must_use]
    pub fn work(&self, attempt: AttemptId) -> Option<Work> {
        self.lock().attempts.get(&attempt).map(|entry| entry.work.clone())
    }

    /// Notes that `attempt` is over and gives its slot to the next. `None` if it was over before.
    #[must_use]
    pub fn end(&self, attempt: AttemptId) -> Option<Work> {
        let mut state = self.lock();
        let entry = state.attempts.remove(&attempt)?;
        state.release(entry.work.slot);
        if state.attempts.is_empty() {
            self.inner.idle.notify_waiters();
        }
        self.grant(state);
        Some(entry.work)
    }

    /// Grants no more slots.
    pub fn close(&self) {
        self.lock().closed = true;
    }

    /// Waits until no attempt is under way.
    pub async fn idle(&self) {
        loop {
            let told = self.inner.idle.notified();
            if self.lock().attempts.is_empty() {
                return;
            }
            told.await;
        }
    }

    /// Hands out slots until none is free or nothing waits.
    fn grant<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        loop {
            let mut granted = Vec::new();
            while !state.closed
                && let Some(work) = state.grant(&self.inner.executors)
            {
                granted.push(work);
            }
            drop(state);
            granted.retain(|work| !self.tell(work));
            if granted.is_empty() {
                return;
            }
            // The slots of works that nobody waits for go to the next ones.
            state = self.lock();
            granted.iter().for_each(|work| state.release(work.slot));
        }
    }

    /// Tells an owner of its slot. False when it retired with work in the queue.
    fn tell(&self, work: &Work) -> bool {
        match work.mailbox.try_send(Message::Granted { node: work.node, slot: work.slot }) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(message)) => {
                let (admission, mailbox, slot) = (self.clone(), work.mailbox.clone(), work.slot);
                tokio::spawn(async move {
                    if mailbox.send(message).await.is_err() {
                        admission.decline(slot);
                    }
                });
                true
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two of its calls, also if a caller panicked.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
