//! Owns the host's process and everything that it has under way: starts it when it is needed,
//! hands it tasks, passes on what it reports, and sees to its attempts when it dies.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cov_core::error::Fault;
use cov_core::frames::host::{Found, FromHost, HostOutcome, ToHost};
use cov_core::ids::AttemptId;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::PluginOptions;
use super::attempts::{Attempt, Fate, Suspects, ended};
use super::process::{self, Process, Writer};
use super::wire::{self, Packed};
use crate::local::capture::{self, Spool};
use crate::{Error, Event, Job, Outcome, Report, Task};

/// What metrics call the host.
const KIND: &str = "plugins";

/// A host that lived shorter than this is not replaced at once.
const LIFE_MIN: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// How often the log is looked at.
const LOG_EVERY: Duration = Duration::from_secs(20);

/// Has somebody waiting.
type Answer<T> = oneshot::Sender<T>;

/// What the executors want.
#[derive(Debug)]
pub(super) enum Order {
    Submit(Box<Task>),
    Attach(Box<Job>),
    Kill(AttemptId),
    Show(AttemptId, Answer<(Bytes, Bytes)>),
    Find(Answer<Result<Vec<Found>, String>>),
}

/// The way to the supervisor. Never blocks: who submits may have to take reports first. Holds no
/// more tasks than the executors have slots, since nobody submits more.
#[derive(Debug, Default)]
pub(super) struct Orders {
    waiting: Mutex<VecDeque<Order>>,
    woken: Notify,
    stopping: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Orders {
    /// # Errors
    /// `Stopping`.
    pub(super) fn give(&self, order: Order) -> Result<(), Error> {
        if self.stopping.is_cancelled() {
            return Err(Error::Stopping);
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(order);
        self.woken.notify_one();
        Ok(())
    }

    pub(super) fn close(&self) {
        self.stopping.cancel();
        self.tasks.close();
    }

    fn take(&self) -> VecDeque<Order> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a host that is not there yet shall be told.
#[derive(Debug)]
enum Waiting {
    Task(Box<Task>),
    Job(Box<Job>),
}

#[derive(Debug)]
pub(super) struct Supervisor {
    options: Arc<PluginOptions>,
    orders: Arc<Orders>,
    reports: mpsc::Sender<Report>,
    attempts: HashMap<AttemptId, Attempt>,
    waiting: VecDeque<Waiting>,
    seekers: Vec<Answer<Result<Vec<Found>, String>>>,
    viewers: HashMap<AttemptId, Vec<Answer<(Bytes, Bytes)>>>,
    suspects: Suspects,
    /// When the next host may be started, and how long the one after it has to wait.
    not_before: Instant,
    pause: Duration,
}

impl Supervisor {
    pub(super) fn new(
        options: Arc<PluginOptions>,
        orders: Arc<Orders>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        Self {
            options,
            orders,
            reports,
            attempts: HashMap::new(),
            waiting: VecDeque::new(),
            seekers: Vec::new(),
            viewers: HashMap::new(),
            suspects: Suspects::default(),
            not_before: Instant::now(),
            pause: FIRST_PAUSE,
        }
    }

    pub(super) async fn run(mut self) {
        let stopping = self.orders.stopping.clone();
        while !stopping.is_cancelled() {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = self.until_needed() => {}
            }
            let Some(started) = self.start().await else { return };
            match started {
                Ok(process) => self.live(process).await,
                Err(message) if stopping.is_cancelled() => drop(message),
                Err(message) => self.give_up(&message).await,
            }
        }
    }

    /// Returns when there is something to do for a host, and one may be started.
    async fn until_needed(&mut self) {
        loop {
            self.take_orders_without_host().await;
            let is_needed = !self.waiting.is_empty() || !self.seekers.is_empty();
            let orders = Arc::clone(&self.orders);
            if is_needed && Instant::now() >= self.not_before {
                return;
            }
            tokio::select! {
                () = orders.woken.notified() => {}
                () = sleep_until(self.not_before), if is_needed => {}
            }
        }
    }

    /// Starts a host; takes orders meanwhile. `None` when everything stops.
    async fn start(&mut self) -> Option<Result<Process, String>> {
        self.options.metrics.maker_started(KIND);
        let (options, orders) = (Arc::clone(&self.options), Arc::clone(&self.orders));
        let start = Process::start(&options, &orders.stopping);
        tokio::pin!(start);
        loop {
            tokio::select! {
                biased;
                started = &mut start => return Some(started),
                () = orders.woken.notified() => self.take_orders_without_host().await,
            }
        }
    }

    /// Keeps what a host has to be told, and does what can be done without one.
    async fn take_orders_without_host(&mut self) {
        for order in self.orders.take() {
            match order {
                Order::Submit(task) => {
                    self.attempts.insert(task.attempt, Attempt::of_task(&task));
                    self.waiting.push_back(Waiting::Task(task));
                }
                Order::Attach(job) => {
                    self.attempts.insert(job.attempt, Attempt::of_job(&job));
                    self.waiting.push_back(Waiting::Job(job));
                }
                Order::Kill(attempt) => self.kill_waiting(attempt).await,
                // Nothing that could be shown: dropping the sender says so.
                Order::Show(_, answer) => drop(answer),
                Order::Find(answer) => self.seekers.push(answer),
            }
        }
    }

    async fn kill_waiting(&mut self, attempt: AttemptId) {
        let is_it =
            |waiting: &Waiting| matches!(waiting, Waiting::Task(task) if task.attempt == attempt);
        if self.waiting.iter().any(is_it) {
            self.waiting.retain(|waiting| !is_it(waiting));
            self.over(attempt, ended(Outcome::Killed)).await;
        } else if let Some(known) = self.attempts.get_mut(&attempt) {
            // A job that runs elsewhere is ended by the host that takes it up.
            known.killed = true;
        }
    }

    /// Serves a host until it is gone.
    async fn live(&mut self, mut process: Process) {
        let began = Instant::now();
        let orders = Arc::clone(&self.orders);
        self.hand_over_waiting(&mut process.writer).await;
        let mut log_looks = interval(LOG_EVERY);
        log_looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let Process { reader, writer, .. } = &mut process;
            tokio::select! {
                biased;
                () = orders.stopping.cancelled() => return process.end().await,
                () = orders.woken.notified() => self.take_orders(writer).await,
                flushed = writer.flush(), if writer.has_unsent() => {
                    if let Err(error) = flushed {
                        tracing::debug!(%error, "the host of plugins cannot be spoken with");
                        break;
                    }
                }
                message = reader.next() => match message {
                    Some(message) => self.hear(message).await,
                    None => break,
                },
                _ = log_looks.tick() => process::trim_log(&self.options),
            }
        }
        let how = process.how_it_ended().await;
        process.end().await;
        if !orders.stopping.is_cancelled() {
            tracing::error!(how, "the host of executor plugins died");
            self.mourn(&how, began).await;
        }
    }

    /// Hands over what waited for a host.
    async fn hand_over_waiting(&mut self, writer: &mut Writer) {
        if !self.seekers.is_empty() {
            self.tell(writer, &ToHost::Find);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Task(task) => self.hand_over(*task, writer).await,
                Waiting::Job(job) => self.hand_over_job(&job, writer),
            }
        }
    }

    async fn take_orders(&mut self, writer: &mut Writer) {
        for order in self.orders.take() {
            match order {
                Order::Submit(task) => {
                    self.attempts.insert(task.attempt, Attempt::of_task(&task));
                    self.hand_over(*task, writer).await;
                }
                Order::Attach(job) => {
                    self.attempts.insert(job.attempt, Attempt::of_job(&job));
                    self.hand_over_job(&job, writer);
                }
                Order::Kill(attempt) => self.kill(attempt, writer),
                Order::Show(attempt, answer) => {
                    if self.attempts.contains_key(&attempt) {
                        self.viewers.entry(attempt).or_default().push(answer);
                        self.tell(writer, &ToHost::Show { attempt: attempt.to_bits() });
                    }
                }
                Order::Find(answer) => {
                    self.seekers.push(answer);
                    self.tell(writer, &ToHost::Find);
                }
            }
        }
    }

    fn tell(&self, writer: &mut Writer, message: &ToHost) {
        if let Err(error) = writer.put(message) {
            tracing::error!(%error, "the host of plugins cannot be told something");
        }
    }

    async fn hand_over(&mut self, task: Task, writer: &mut Writer) {
        let id = task.attempt;
        let spool = Spool::of(&self.options.spool_dir, id);
        let packed = if crate::local::wire::needs_files(&task) {
            let pack = move || wire::pack(&task, &spool);
            let packed = tokio::task::spawn_blocking(pack).await;
            packed.unwrap_or_else(|error| Err(std::io::Error::other(error)))
        } else {
            wire::pack(&task, &spool)
        };
        let put = packed.map_err(|error| error.to_string()).and_then(|packed| {
            let Packed { message, spilled } = packed;
            if let Some(attempt) = self.attempts.get_mut(&id) {
                attempt.spilled = spilled;
            }
            writer.put(&message).map_err(|error| error.to_string())
        });
        if let Err(error) = put {
            let message = format!("The task could not be handed to the host of plugins: {error}");
            self.over(id, ended(Outcome::Failed { fault: Fault::Server, message })).await;
        }
    }

    fn hand_over_job(&mut self, job: &Job, writer: &mut Writer) {
        self.tell(writer, &wire::pack_job(job));
        if self.attempts.get(&job.attempt).is_some_and(|attempt| attempt.killed) {
            self.kill(job.attempt, writer);
        }
    }

    fn kill(&mut self, id: AttemptId, writer: &mut Writer) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        attempt.killed = true;
        let grace_ms = u64::try_from(self.options.kill_grace.as_millis()).unwrap_or(u64::MAX);
        self.tell(writer, &ToHost::Kill { attempt: id.to_bits(), grace_ms });
    }

    async fn hear(&mut self, message: FromHost) {
        match message {
            FromHost::Hello(_) => tracing::warn!("the host of plugins says hello twice"),
            FromHost::Found(found) => {
                for seeker in self.seekers.drain(..) {
                    // Who does not wait any more needs no answer.
                    drop(seeker.send(Ok(found.clone())));
                }
            }
            FromHost::Begun { attempt } => self.begun(AttemptId::from_bits(attempt)).await,
            FromHost::Accepted { attempt, job } => {
                let id = AttemptId::from_bits(attempt);
                if let Some(attempt) = self.attempts.get_mut(&id) {
                    let handle: Box<str> = job.into();
                    attempt.handle = Some(handle.clone());
                    self.report(id, Event::Accepted { handle }).await;
                }
            }
            FromHost::Ended { attempt, outcome, stdout, stderr } => {
                let id = AttemptId::from_bits(attempt);
                let Some(attempt) = self.attempts.get(&id) else { return };
                self.suspects.clear(attempt);
                let spool = Spool::of(&self.options.spool_dir, id);
                let name = &attempt.engine.name;
                let outcome = match outcome {
                    HostOutcome::Killed if !attempt.killed => {
                        HostOutcome::Died("Somebody else ended the task.".to_owned())
                    }
                    outcome => outcome,
                };
                let ending = wire::ending(outcome, (stdout, stderr), name, &spool, &self.options);
                let event = ending.map_or_else(foreign_file, Event::Ended);
                self.over(id, event).await;
            }
            FromHost::Lost { attempt, message } => {
                let id = AttemptId::from_bits(attempt);
                tracing::warn!(attempt = %id, message, "what became of an attempt is not known");
                self.over(id, Event::Lost).await;
            }
            FromHost::Shown { attempt, stdout, stderr } => {
                let shown = (Bytes::from(stdout), Bytes::from(stderr));
                for viewer in
                    self.viewers.remove(&AttemptId::from_bits(attempt)).unwrap_or_default()
                {
                    drop(viewer.send(shown.clone()));
                }
            }
        }
    }

    async fn begun(&mut self, id: AttemptId) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        if !attempt.begun {
            attempt.begun = true;
            self.report(id, Event::Begun).await;
        }
    }

    /// Reports the end of an attempt, of whatever kind, and forgets it.
    async fn over(&mut self, id: AttemptId, event: Event) {
        let Some(attempt) = self.attempts.remove(&id) else { return };
        attempt.spilled.iter().for_each(|path| capture::remove(path));
        self.viewers.remove(&id);
        self.report(id, event).await;
    }

    /// Reports, unless everything stops.
    async fn report(&self, attempt: AttemptId, event: Event) {
        tokio::select! {
            biased;
            () = self.orders.stopping.cancelled() => {}
            sent = self.reports.send(Report { attempt, event }) => {
                if sent.is_err() {
                    tracing::debug!(%attempt, "nobody takes reports any more");
                }
            }
        }
    }

    /// Sees to what a host had when it died.
    async fn mourn(&mut self, how: &str, began: Instant) {
        self.viewers.clear();
        if began.elapsed() > LIFE_MIN {
            self.pause = FIRST_PAUSE;
        }
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        // A search that was under way may be what killed it.
        for seeker in self.seekers.drain(..) {
            drop(seeker.send(Err(format!("the host of executor plugins {how}"))));
        }
        let mut ids: Vec<AttemptId> = self.attempts.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(attempt) = self.attempts.get(&id) else { continue };
            match self.suspects.fate(id, attempt, how) {
                Fate::Attach(job) => self.waiting.push_back(Waiting::Job(Box::new(job))),
                Fate::Over(event) => self.over(id, event).await,
            }
        }
    }

    /// Fails everything, since there can be no host.
    async fn give_up(&mut self, message: &str) {
        tracing::error!(message, "executor plugins cannot be used");
        for seeker in self.seekers.drain(..) {
            drop(seeker.send(Err(message.to_owned())));
        }
        self.waiting.clear();
        let ids: Vec<AttemptId> = self.attempts.keys().copied().collect();
        for id in ids {
            let message = message.to_owned();
            self.over(id, ended(Outcome::Failed { fault: Fault::Executor, message })).await;
        }
    }
}

fn foreign_file() -> Event {
    let message = "The host of plugins names a file that is not the attempt's.".to_owned();
    ended(Outcome::Failed { fault: Fault::Server, message })
}
