//! What a pool knows: its runners, what they have to do, and what waits for one of them.

use std::collections::{HashMap, VecDeque};

use cov_core::ids::AttemptId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Request;
use crate::Task;
use crate::local::pace::{PATIENCE, Pace};
use crate::local::runner::Order;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) maker: Maker,
    pub(super) runners: HashMap<u64, Runner>,
    /// Runners that wait for a task, and since when; the one used last is used next, since its
    /// memory is warm.
    pub(super) idle: Vec<(u64, Instant)>,
    pub(super) queue: VecDeque<Task>,
    /// The runner that was handed each attempt.
    pub(super) running: HashMap<AttemptId, u64>,
    pub(super) pace: Pace,
}

#[derive(Debug, Default)]
pub(super) enum Maker {
    /// There is none; the next task starts one.
    #[default]
    Down,
    Starting,
    Up(mpsc::Sender<Request>),
    Closed,
}

#[derive(Debug)]
pub(super) struct Runner {
    pub(super) orders: mpsc::Sender<Order>,
    /// The process, once it is known.
    pub(super) pid: Option<u32>,
    /// What it was handed and has not ended: the one that it is at, and those after it.
    pub(super) tasks: VecDeque<AttemptId>,
    /// When the first of them came to be the first.
    since: Instant,
    /// Those after it that nobody wants any more.
    pub(super) unwanted: Vec<AttemptId>,
    /// Whether the task that it is at is being killed.
    pub(super) killed: bool,
    /// Whether it takes no more tasks.
    pub(super) ending: bool,
    pub(super) greeted: bool,
}

impl Runner {
    pub(super) fn new(orders: mpsc::Sender<Order>) -> Self {
        Self {
            orders,
            pid: None,
            tasks: VecDeque::new(),
            since: Instant::now(),
            unwanted: Vec::new(),
            killed: false,
            ending: false,
            greeted: false,
        }
    }

    pub(super) fn tell(&self, order: Order) {
        if let Err(error) = self.orders.try_send(order) {
            // Its queue has room for all it can ever be told, so it has ended by itself.
            tracing::debug!(%error, "a runner cannot be told");
        }
    }

    /// Strikes out a task. False if it was not one of its own.
    pub(super) fn forget(&mut self, attempt: AttemptId) -> bool {
        let Some(place) = self.tasks.iter().position(|task| *task == attempt) else { return false };
        if place == 0 {
            self.since = Instant::now();
        }
        self.tasks.remove(place).is_some()
    }

    /// Whether it is at a task that may soon be over.
    fn is_quick(&self) -> bool {
        !self.tasks.is_empty() && !self.ending && self.since.elapsed() < PATIENCE
    }
}

impl State {
    pub(super) fn busy(&self) -> usize {
        let busy = |runner: &&Runner| !runner.tasks.is_empty() && !runner.ending;
        self.runners.values().filter(busy).count()
    }

    pub(super) fn next_idle(&mut self) -> Option<(u64, Instant)> {
        while let Some((number, since)) = self.idle.pop() {
            if self.runners.get(&number).is_some_and(|runner| !runner.ending) {
                return Some((number, since));
            }
        }
        None
    }

    /// Gives the tasks that wait to runners that are at another one, as many as the pace allows.
    pub(super) fn hand_ahead(&mut self) {
        let ahead = self.pace.ahead();
        while ahead > 0 && !self.queue.is_empty() {
            let quick = self.runners.iter().filter(|(_, runner)| runner.is_quick());
            let quick = quick.filter(|(_, runner)| runner.tasks.len() <= ahead);
            let shortest = quick.min_by_key(|(_, runner)| runner.tasks.len());
            let Some(number) = shortest.map(|(number, _)| *number) else { return };
            let Some(task) = self.queue.pop_front() else { return };
            self.assign(number, task);
        }
    }

    /// How many tasks more than there are workers are of use now.
    pub(super) fn room_ahead(&self) -> usize {
        match self.pace.ahead() {
            0 => 0,
            ahead => ahead * self.runners.values().filter(|runner| runner.is_quick()).count(),
        }
    }

    pub(super) fn assign(&mut self, number: u64, task: Task) {
        let Some(runner) = self.runners.get_mut(&number) else { return };
        let attempt = task.attempt;
        match runner.orders.try_send(Order::Run(Box::new(task))) {
            Ok(()) => {
                if runner.tasks.is_empty() {
                    runner.since = Instant::now();
                }
                runner.tasks.push_back(attempt);
                self.running.insert(attempt, number);
            }
            Err(
                mpsc::error::TrySendError::Full(order) | mpsc::error::TrySendError::Closed(order),
            ) => {
                // It is on its way out; another takes the task.
                runner.ending = true;
                if let Order::Run(task) = order {
                    self.queue.push_front(*task);
                }
            }
        }
    }
}
