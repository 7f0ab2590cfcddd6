//! An executor whose tasks are small scripts: a function's payload is JSON that says what the
//! task does. Runs them in process, and keeps a log of what ran.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::error::Fault;
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_exec::{Ending, Error, Event, Executor, Job, Outcome, Payload, Report, Task};
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// One attempt that was submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) dispatch: DispatchId,
    pub(crate) node: NodeId,
    pub(crate) attempt: AttemptId,
}

/// Runs scripts. Gates, and what engines outside have, are shared with the executors of later
/// lives of the same world.
#[derive(Debug)]
pub(crate) struct Scripted {
    slots: usize,
    reports: mpsc::Sender<Report>,
    state: Mutex<State>,
    changed: Notify,
    gates: Gates,
    outside: Outside,
    dead: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    log: Vec<Ran>,
    attached: Vec<Job>,
    running: HashMap<AttemptId, Running>,
    kills: Vec<AttemptId>,
    most: usize,
    stopped: bool,
}

#[derive(Debug, Default)]
struct Running {
    kill: CancellationToken,
    stdout: String,
    /// Whether it was taken up from an earlier life, for which no slot need be free.
    attached: bool,
}

/// What engines outside have, by handle: what is left to do of each task. Outlives every server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outside(Arc<Mutex<HashMap<String, (Task, Value)>>>);

impl Outside {
    fn jobs(&self) -> MutexGuard<'_, HashMap<String, (Task, Value)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine is gone: nobody can take the job up.
    pub(crate) fn forget(&self, handle: &str) {
        assert!(self.jobs().remove(handle).is_some(), "there is no job {handle}");
    }

    /// Who asks for the job is told later that nobody knows of it.
    pub(crate) fn lose(&self, handle: &str) {
        self.jobs().get_mut(handle).unwrap().1 = serde_json::json!({"lost": true});
    }
}

/// Gates at which tasks wait, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gates(Arc<Mutex<HashMap<String, CancellationToken>>>);

impl Gates {
    /// The gate, if somebody closed it.
    fn closed(&self, name: &str) -> Option<CancellationToken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn gate(&self, name: &str) -> CancellationToken {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry(name.to_owned()).or_default().clone()
    }

    /// Lets everybody through, now and later.
    pub(crate) fn open(&self, name: &str) {
        self.gate(name).cancel();
    }

    /// Lets nobody through who comes from now on.
    pub(crate) fn close(&self, name: &str) {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.insert(name.to_owned(), CancellationToken::new());
    }
}

impl Scripted {
    pub(crate) fn new(
        slots: usize,
        gates: Gates,
        outside: Outside,
        reports: mpsc::Sender<Report>,
    ) -> Arc<Self> {
        let (state, changed, dead) = (Mutex::default(), Notify::new(), CancellationToken::new());
        Arc::new(Self { slots, reports, state, changed, gates, outside, dead })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that was submitted, in order.
    pub(crate) fn log(&self) -> Vec<Ran> {
        self.state().log.clone()
    }

    /// Everything that was taken up from an earlier life, in order.
    pub(crate) fn attached(&self) -> Vec<Job> {
        self.state().attached.clone()
    }

    /// How often a node was submitted.
    pub(crate) fn runs(&self, dispatch: &DispatchId, node: u32) -> usize {
        let is_it = |ran: &&Ran| ran.dispatch == *dispatch && ran.node == NodeId(node);
        self.state().log.iter().filter(is_it).count()
    }

    /// The attempts that were to be killed.
    pub(crate) fn kills(&self) -> Vec<AttemptId> {
        self.state().kills.clone()
    }

    /// The most tasks that ran at once.
    pub(crate) fn most(&self) -> usize {
        self.state().most
    }

    /// How many run now.
    pub(crate) fn running(&self) -> usize {
        self.state().running.len()
    }

    /// Waits until `holds`.
    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until a node was submitted `times` times.
    pub(crate) async fn until_runs(&self, dispatch: &DispatchId, node: u32, times: usize) {
        self.until(|executor| executor.runs(dispatch, node) >= times).await;
    }

    /// The death of the process: nothing is reported any more.
    pub(crate) fn die(&self) {
        self.dead.cancel();
    }

    fn begin(&self, task: &Task) -> Result<(CancellationToken, usize), Error> {
        let mut state = self.state();
        if state.stopped {
            return Err(Error::Stopping);
        }
        let ran = Ran { dispatch: task.dispatch.clone(), node: task.node, attempt: task.attempt };
        state.log.push(ran);
        let running = Running::default();
        let kill = running.kill.clone();
        assert!(state.running.insert(task.attempt, running).is_none(), "an attempt ran twice");
        state.most = state.most.max(state.running.len());
        let granted = state.running.values().filter(|running| !running.attached).count();
        assert!(granted <= self.slots, "more tasks than slots");
        drop(state);
        let nth = self.runs(&task.dispatch, task.node.0);
        self.changed.notify_waiters();
        Ok((kill, nth))
    }

    /// Takes up a job, and returns what is left of it to do.
    fn take_up(&self, job: &Job) -> Result<(CancellationToken, Task, Value), Error> {
        let found = self.outside.jobs().get(&*job.handle).cloned();
        let mut state = self.state();
        if state.stopped {
            return Err(Error::Stopping);
        }
        state.attached.push(job.clone());
        let (task, script) = found.ok_or(Error::NotAttachable)?;
        let running = Running { attached: true, ..Running::default() };
        let kill = running.kill.clone();
        assert!(state.running.insert(job.attempt, running).is_none(), "an attempt ran twice");
        drop(state);
        self.changed.notify_waiters();
        Ok((kill, task, script))
    }

    async fn run(&self, task: Task, kill: CancellationToken, nth: usize) {
        let attempt = task.attempt;
        let function = read(&task.function);
        let whole = serde_json::from_slice::<Value>(&function).unwrap();
        let mut script = &whole;
        if let Some(tries) = script.get("tries").and_then(Value::as_array) {
            script = &tries[(nth - 1).min(tries.len() - 1)];
        }
        if script.get("not_begun").is_some() {
            self.report(attempt, Event::NotBegun).await;
            return;
        }
        self.follow(task, kill, script).await;
    }

    /// Does what is left to do of a script.
    async fn follow(&self, task: Task, kill: CancellationToken, mut script: &Value) {
        let attempt = task.attempt;
        self.send(attempt, Event::Begun).await;
        let outcome = loop {
            if let Some(text) = script.get("print").and_then(Value::as_str) {
                if let Some(running) = self.state().running.get_mut(&attempt) {
                    running.stdout.push_str(text);
                }
                self.changed.notify_waiters();
            } else if let Some(name) = script.get("gate").and_then(Value::as_str) {
                let deaf = script.get("deaf").is_some();
                let gate = self.gates.gate(name);
                tokio::select! {
                    () = gate.cancelled() => {}
                    () = kill.cancelled(), if !deaf => break Outcome::Killed,
                }
            } else if let Some(handle) = script.get("accept") {
                self.accept(&task, handle, &script["then"]).await;
            } else if script.get("lost").is_some() {
                return self.report(attempt, Event::Lost).await;
            } else if script.get("hang").is_some() {
                kill.cancelled().await;
                break Outcome::Killed;
            } else {
                break outcome(script, &task);
            }
            script = &script["then"];
        };
        let printed = self.state().running.get(&attempt).map(|one| one.stdout.clone());
        let stdout = Payload::Bytes(printed.unwrap_or_default().into());
        let ending = Ending { outcome, stdout, stderr: Payload::default() };
        self.report(attempt, Event::Ended(ending)).await;
    }

    /// An engine outside has the task: by the name that the script gives, or by one so long.
    async fn accept(&self, task: &Task, handle: &Value, rest: &Value) {
        let handle = match handle.as_u64() {
            Some(length) => "x".repeat(usize::try_from(length).unwrap()),
            None => handle.as_str().unwrap().to_owned(),
        };
        self.outside.jobs().insert(handle.clone(), (task.clone(), rest.clone()));
        self.send(task.attempt, Event::Accepted { handle: handle.into() }).await;
    }

    /// The last report of an attempt.
    async fn report(&self, attempt: AttemptId, event: Event) {
        let _ended: Option<Running> = self.state().running.remove(&attempt);
        self.changed.notify_waiters();
        self.send(attempt, event).await;
    }

    pub(crate) async fn send(&self, attempt: AttemptId, event: Event) {
        if !self.dead.is_cancelled() && !self.state().stopped {
            self.reports.send(Report { attempt, event }).await.ok();
        }
    }
}

fn read(payload: &Payload) -> Bytes {
    match payload {
        Payload::Bytes(bytes) => bytes.clone(),
        Payload::File(path) => std::fs::read(path).unwrap().into(),
    }
}

fn outcome(script: &Value, task: &Task) -> Outcome {
    if let Some(message) = script.get("fail").and_then(Value::as_str) {
        let fault = match script.get("fault").and_then(Value::as_str) {
            Some(fault) => serde_json::from_value(fault.into()).unwrap(),
            None => Fault::Task,
        };
        return Outcome::Failed { fault, message: message.to_owned() };
    }
    if let Some(path) = script.get("file").and_then(Value::as_str) {
        return Outcome::Completed(Payload::File(path.into()));
    }
    let value = |payload| serde_json::from_slice::<Value>(&read(payload)).unwrap();
    let output = match script.get("return") {
        Some(output) => output.clone(),
        // The sum of the arguments, and one.
        None => {
            let keywords = task.kwargs.iter().map(|(_, _, payload)| payload);
            let arguments = task.args.iter().map(|(_, payload)| payload).chain(keywords);
            Value::from(arguments.map(|one| value(one).as_i64().unwrap()).sum::<i64>() + 1)
        }
    };
    Outcome::Completed(Payload::Bytes(serde_json::to_vec(&output).unwrap().into()))
}

/// What the dispatcher sees of a [`Scripted`].
#[derive(Debug)]
pub(crate) struct Face(pub(crate) Arc<Scripted>);

#[async_trait]
impl Executor for Face {
    fn slots(&self) -> usize {
        self.0.slots
    }

    async fn submit(&self, task: Task) -> Result<(), Error> {
        let (kill, nth) = self.0.begin(&task)?;
        let executor = Arc::clone(&self.0);
        tokio::spawn(async move {
            tokio::select! {
                () = executor.run(task, kill, nth) => {}
                () = executor.dead.cancelled() => {}
            }
        });
        Ok(())
    }

    async fn attach(&self, job: Job) -> Result<(), Error> {
        if let Some(gate) = self.0.gates.closed("attach") {
            tokio::select! {
                () = gate.cancelled() => {}
                () = self.0.dead.cancelled() => return Err(Error::Stopping),
            }
        }
        let (kill, task, script) = self.0.take_up(&job)?;
        let executor = Arc::clone(&self.0);
        tokio::spawn(async move {
            tokio::select! {
                () = executor.follow(task, kill, &script) => {}
                () = executor.dead.cancelled() => {}
            }
        });
        Ok(())
    }

    async fn kill(&self, attempt: AttemptId) {
        let mut state = self.0.state();
        state.kills.push(attempt);
        if let Some(running) = state.running.get(&attempt) {
            running.kill.cancel();
        }
        drop(state);
        self.0.changed.notify_waiters();
    }

    async fn live_output(&self, attempt: AttemptId) -> Option<(Bytes, Bytes)> {
        let state = self.0.state();
        let running = state.running.get(&attempt)?;
        Some((running.stdout.clone().into(), Bytes::new()))
    }

    async fn stop(&self) {
        self.0.state().stopped = true;
        self.0.dead.cancel();
        self.0.changed.notify_waiters();
    }
}
