//! Which runner of one kind does what: those in Python are made by the zygote, those of a program
//! by the keeper. One lock guards it all and is never held across an await; the tasks that speak
//! with the maker of runners and with the runners call in here.

mod state;
mod withdraw;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use cov_core::error::Fault;
use cov_core::frames::Exit;
use cov_core::ids::AttemptId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::state::{Maker, Runner, State};
pub(super) use self::withdraw::TakenBack;
use super::capture::Files;
use super::common::Common;
use super::queue::Queue;
use super::runner::{self, Order};
use super::{program, zygote};
use crate::{Error, Outcome, Program, Task};

/// The pool, shared by everything that works for it.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) common: Arc<Common>,
    pub(super) kind: Kind,
    state: Mutex<State>,
}

/// What the runners of a pool are.
#[derive(Debug)]
pub(super) enum Kind {
    /// Forks of the zygote.
    Python,
    /// Processes of a program that brings its own electrons.
    Program(Program),
}

/// What the pool asks of the maker of its runners.
#[derive(Debug)]
pub(super) enum Request {
    /// Make a runner that serves this socket.
    Make { runner: u64, socket: OwnedFd },
    /// End a runner and all that it started.
    Kill { runner: u64, grace: Duration },
}

/// What a runner had to do when it was taken out of the pool.
#[derive(Debug)]
pub(super) struct Departed {
    /// The one that it was at, or was to begin next, and those after it.
    pub(super) tasks: VecDeque<AttemptId>,
    /// Those of them that nobody wants any more.
    pub(super) unwanted: Vec<AttemptId>,
    /// Whether the first one was being killed.
    pub(super) killed: bool,
}

impl Pool {
    pub(super) fn new(common: Arc<Common>, kind: Kind) -> Self {
        Self { common, kind, state: Mutex::default() }
    }

    /// How many tasks at once are of use: one for each worker, and where tasks are so short that a
    /// worker had better have the next ones at hand, those.
    pub(super) fn room(&self) -> usize {
        self.workers() + self.state().room_ahead()
    }

    fn workers(&self) -> usize {
        self.common.workers()
    }

    /// Runners beyond those needed: one, where a task would have to wait for a new one for long.
    fn spare(&self) -> usize {
        match self.kind {
            Kind::Python => 1,
            Kind::Program(_) => 0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panicking holder left is consistent enough to end the runners.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the maker of runners, in the background.
    pub(super) fn start(self: &Arc<Self>) {
        self.wake_maker(&mut self.state());
    }

    /// Takes no more tasks.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.maker = Maker::Closed;
        state.queue.clear();
    }

    pub(super) fn submit(self: &Arc<Self>, task: Task) -> Result<(), Error> {
        let mut state = self.state();
        if matches!(state.maker, Maker::Closed) {
            return Err(Error::Stopping);
        }
        state.queue.push_back(task);
        self.wake_maker(&mut state);
        self.pump(&mut state);
        Ok(())
    }

    /// A runner cannot be spoken with any more. One that is being killed has closed its end because
    /// it obeys; what it started keeps its time to do the same.
    pub(super) fn runner_disconnected(self: &Arc<Self>, number: u64) {
        let killed = self.state().runners.get(&number).is_some_and(|runner| runner.killed);
        if !killed {
            self.kill_runner(number);
        }
    }

    /// Ends a runner that cannot be spoken with any more, or whose work is void.
    pub(super) fn kill_runner(self: &Arc<Self>, number: u64) {
        let mut state = self.state();
        let Some(runner) = state.runners.get_mut(&number) else { return };
        runner.ending = true;
        let greeted = runner.greeted;
        state.idle.retain(|(idle, _)| *idle != number);
        send(&state.maker, Request::Kill { runner: number, grace: Duration::ZERO });
        // One that never said hello would be followed by another of its kind, without end.
        if greeted {
            self.pump(&mut state);
        }
    }

    pub(super) async fn live_output(&self, attempt: AttemptId) -> Option<(Bytes, Bytes)> {
        let number = self.runner_of(attempt)?;
        let files = Files::of(&self.common.options.run_dir, number);
        let read = tokio::task::spawn_blocking(move || files.read()).await.ok()?;
        // The runner may have gone on to another task meanwhile.
        (self.runner_of(attempt) == Some(number)).then_some(read)
    }

    /// The runner that is at this attempt.
    fn runner_of(&self, attempt: AttemptId) -> Option<u64> {
        let state = self.state();
        let number = state.running.get(&attempt).copied()?;
        let is_at_it = state.runners.get(&number)?.tasks.front() == Some(&attempt);
        is_at_it.then_some(number)
    }

    /// A runner has said hello.
    pub(super) fn runner_ready(self: &Arc<Self>, number: u64) {
        let mut state = self.state();
        if let Some(runner) = state.runners.get_mut(&number) {
            runner.greeted = true;
            if !runner.ending {
                // Behind those that have run tasks.
                state.idle.insert(0, (number, Instant::now()));
            }
        }
        self.pump(&mut state);
    }

    /// A runner's task ended by itself, after this time. Whether the runner goes on: not if the
    /// task was being killed, which then ends with the runner's end.
    pub(super) fn runner_done(
        self: &Arc<Self>,
        number: u64,
        attempt: AttemptId,
        took: Duration,
    ) -> bool {
        let mut state = self.state();
        state.pace.note(took);
        self.without(&mut state, number, attempt)
    }

    /// A runner was not handed a task that it should have had. Whether it goes on.
    pub(super) fn runner_spared(self: &Arc<Self>, number: u64, attempt: AttemptId) -> bool {
        self.without(&mut self.state(), number, attempt)
    }

    fn without(self: &Arc<Self>, state: &mut State, number: u64, attempt: AttemptId) -> bool {
        let Some(runner) = state.runners.get_mut(&number) else { return false };
        if runner.killed {
            return false;
        }
        runner.forget(attempt);
        let next_is_unwanted =
            runner.tasks.front().is_some_and(|next| runner.unwanted.contains(next));
        let rests = runner.tasks.is_empty() && !runner.ending;
        state.running.remove(&attempt);
        if rests {
            state.idle.push((number, Instant::now()));
        }
        if next_is_unwanted {
            self.kill_running(state, number);
        }
        self.pump(state);
        true
    }

    /// A runner is gone. `None` when it was not known any more.
    pub(super) fn runner_gone(self: &Arc<Self>, number: u64) -> Option<Departed> {
        let mut state = self.state();
        let runner = state.runners.remove(&number)?;
        state.idle.retain(|(idle, _)| *idle != number);
        for attempt in &runner.tasks {
            state.running.remove(attempt);
        }
        // As in `kill_runner`.
        if runner.greeted {
            self.pump(&mut state);
        }
        Some(Departed { tasks: runner.tasks, unwanted: runner.unwanted, killed: runner.killed })
    }

    /// Runners can be made.
    pub(super) fn maker_up(self: &Arc<Self>, requests: mpsc::Sender<Request>) {
        let mut state = self.state();
        if !matches!(state.maker, Maker::Closed) {
            state.maker = Maker::Up(requests);
            self.pump(&mut state);
        }
    }

    /// No runner can be made: everything that waits fails.
    pub(super) async fn maker_failed(&self, message: &str) {
        let waiting = {
            let mut state = self.state();
            if !matches!(state.maker, Maker::Closed) {
                state.maker = Maker::Down;
            }
            std::mem::take(&mut state.queue)
        };
        self.fail_all(waiting, message).await;
    }

    /// The maker of runners died. Returns the process groups of its runners. With `restart`, or when tasks
    /// wait, another is started.
    pub(super) fn maker_lost(self: &Arc<Self>, restart: bool) -> Vec<u32> {
        let mut state = self.state();
        state.idle.clear();
        for runner in state.runners.values_mut() {
            runner.ending = true;
            runner.tell(Order::MakerLost);
        }
        let groups = state.runners.values().filter_map(|runner| runner.pid).collect();
        if !matches!(state.maker, Maker::Closed) {
            state.maker = Maker::Down;
            if restart || !state.queue.is_empty() {
                self.wake_maker(&mut state);
            }
        }
        groups
    }

    /// A runner's process was made.
    pub(super) fn forked(&self, number: u64, pid: u32) {
        if let Some(runner) = self.state().runners.get_mut(&number) {
            runner.pid = Some(pid);
        }
    }

    /// A runner's process, and all that it started, is gone.
    pub(super) fn exited(&self, number: u64, exit: Exit) {
        if let Some(runner) = self.state().runners.get_mut(&number) {
            runner.ending = true;
            runner.tell(Order::Exited(exit));
        }
    }

    /// A runner was ended because its maker died.
    pub(super) fn lost(&self, number: u64) {
        let mut state = self.state();
        state.idle.retain(|(idle, _)| *idle != number);
        if let Some(runner) = state.runners.get_mut(&number) {
            runner.ending = true;
            runner.tell(Order::MakerLost);
        }
    }

    /// Ends runners that had nothing to do for this long. Returns whether the maker has nothing to
    /// do either and is let go: it calls [`Pool::maker_left`] when it is done.
    pub(super) fn end_idle(self: &Arc<Self>, time: Duration) -> bool {
        let mut state = self.state();
        let old: Vec<u64> = state
            .idle
            .iter()
            .filter(|(_, since)| since.elapsed() >= time)
            .map(|(number, _)| *number)
            .collect();
        for number in &old {
            if let Some(runner) = state.runners.get_mut(number) {
                runner.ending = true;
                send(&state.maker, Request::Kill { runner: *number, grace: Duration::ZERO });
            }
        }
        state.idle.retain(|(number, _)| !old.contains(number));
        let leaves = state.runners.is_empty()
            && state.queue.is_empty()
            && matches!(state.maker, Maker::Up(_));
        if leaves {
            state.maker = Maker::Starting;
        }
        leaves
    }

    /// The maker of runners has left, as [`Pool::end_idle`] let it.
    pub(super) fn maker_left(self: &Arc<Self>) {
        let mut state = self.state();
        if matches!(state.maker, Maker::Starting) {
            state.maker = Maker::Down;
            if !state.queue.is_empty() {
                self.wake_maker(&mut state);
            }
        }
    }

    /// The system made no process for a runner.
    pub(super) async fn fork_failed(&self, number: u64, message: &str) {
        self.state().runners.remove(&number);
        let message = format!("No runner process could be made: {message}");
        self.without_runner(&message).await;
    }

    /// A runner did not come up. Tasks that wait fail if there is no other to wait for.
    pub(super) async fn without_runner(&self, message: &str) {
        let waiting = {
            let mut state = self.state();
            let hopeless = state.runners.values().all(|runner| runner.ending);
            if hopeless { std::mem::take(&mut state.queue) } else { VecDeque::new() }
        };
        self.fail_all(waiting, message).await;
    }

    async fn fail_all(&self, tasks: VecDeque<Task>, message: &str) {
        for task in tasks {
            let message = message.to_owned();
            let outcome = Outcome::Failed { fault: Fault::Executor, message };
            self.common.report_end(task.attempt, outcome, <_>::default()).await;
        }
    }

    fn wake_maker(self: &Arc<Self>, state: &mut State) {
        if matches!(state.maker, Maker::Down) {
            state.maker = Maker::Starting;
            let pool = Arc::clone(self);
            match &self.kind {
                Kind::Python => self.common.tasks.spawn(zygote::run(pool)),
                Kind::Program(program) => {
                    self.common.tasks.spawn(program::run(pool, program.clone()))
                }
            };
        }
    }

    /// Room for requests: each worker has at most one runner that ends and one that comes.
    pub(super) fn requests_max(&self) -> usize {
        4 * self.workers() + 16
    }

    /// Gives waiting tasks to idle runners, and asks for the runners that are missing.
    fn pump(self: &Arc<Self>, state: &mut State) {
        let workers = self.workers();
        while state.busy() < workers
            && let Some((number, since)) = state.next_idle()
        {
            let Some(task) = state.queue.pop_front() else {
                state.idle.push((number, since));
                break;
            };
            state.assign(number, task);
        }
        state.hand_ahead();
        let Maker::Up(requests) = &state.maker else { return };
        let requests = requests.clone();
        let wanted = workers.min(state.busy() + state.queue.len()) + self.spare();
        let present = state.runners.values().filter(|runner| !runner.ending).count();
        for _ in present..wanted {
            if !self.add_runner(state, &requests) {
                break;
            }
        }
    }

    fn add_runner(self: &Arc<Self>, state: &mut State, maker: &mpsc::Sender<Request>) -> bool {
        let number = self.common.next_runner();
        self.common.options.metrics.started(self.kind.word());
        let sockets = runner::socket_pair().and_then(|(ours, theirs)| {
            let queue = Queue::new(&ours)?;
            Ok((ours, queue, theirs))
        });
        let (ours, queue, theirs) = match sockets {
            Ok(sockets) => sockets,
            Err(error) => {
                tracing::error!(%error, "no sockets for a runner");
                return false;
            }
        };
        if maker.try_send(Request::Make { runner: number, socket: theirs }).is_err() {
            return false;
        }
        let (orders, received) = mpsc::channel(runner::ORDERS_MAX);
        state.runners.insert(number, Runner::new(orders));
        let runner = runner::Runner::new(Arc::clone(self), number, (ours, queue), received);
        self.common.tasks.spawn(runner.run());
        true
    }
}

fn send(maker: &Maker, request: Request) {
    if let Maker::Up(requests) = maker
        && requests.try_send(request).is_err()
    {
        tracing::error!("the maker of runners takes no requests");
    }
}
