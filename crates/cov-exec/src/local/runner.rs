//! The server's end of one runner: hands it tasks, passes on what it reports, and tells what
//! became of its task when it dies.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use cov_core::error::Fault;
use cov_core::frames::{self, Blob, Exit, FromRunner, Hello, Message as _, ToRunner};
use cov_core::ids::AttemptId;
use rustix::net::RecvFlags;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::capture::{self, Files, Spool};
use super::ends;
use super::pace::{self, PATIENCE};
use super::pool::{Departed, Pool, TakenBack};
use super::queue::{MESSAGE_BYTES_MAX, Queue};
use super::wire::{self, Packed};
use crate::{Event, Outcome, Task};

/// A runner gets a task and those ahead of it, is told once of each that nobody wants any more, and
/// of its own end and that of its maker.
pub(super) const ORDERS_MAX: usize = 2 * pace::AHEAD_MAX + 8;

/// How long a process may take from its start to its hello. It may have to import much first, on
/// a busy machine.
const GREETING_MAX: Duration = Duration::from_secs(60);

/// What the pool tells a runner's task.
#[derive(Debug)]
pub(super) enum Order {
    Run(Box<Task>),
    /// Take back what the process has not taken.
    TakeBack,
    /// The process, and all that it started, is gone.
    Exited(Exit),
    /// The process that would tell of its end is gone, and it with it.
    MakerLost,
}

/// The server's end and the runner's end of a connection.
pub(crate) fn socket_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}

#[derive(Debug)]
pub(super) struct Runner {
    pool: Arc<Pool>,
    number: u64,
    stream: UnixStream,
    received: BytesMut,
    queue: Queue,
    orders: mpsc::Receiver<Order>,
    connected: bool,
    greeted: bool,
    /// Until when it has to say hello.
    greets_by: Instant,
    is_late: bool,
    /// What was put in its queue and has not ended: the one that it is at, and those after it.
    handed: VecDeque<Handed>,
    /// When the first of them came to be the first.
    since: Instant,
    /// Until when those behind it may wait for it.
    patient_until: Instant,
    /// What is to be put in its queue as soon as it fits, with its frame.
    waiting: VecDeque<(Handed, Vec<u8>)>,
}

/// A task that the runner was handed.
#[derive(Debug)]
struct Handed {
    attempt: AttemptId,
    /// Whether it is of interest when its code begins.
    timed: bool,
    /// Whether it travels in several messages.
    long: bool,
    begun: bool,
    spool: Spool,
    spilled: Vec<PathBuf>,
}

enum Input {
    Order(Order),
    Report(FromRunner),
    Disconnected,
    Late,
    /// It is at its task for so long that what waits behind it had better go elsewhere.
    Slow,
    Stopping,
}

impl Runner {
    pub(super) fn new(
        pool: Arc<Pool>,
        number: u64,
        (stream, queue): (UnixStream, Queue),
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        let now = Instant::now();
        Self {
            pool,
            number,
            stream,
            received: BytesMut::new(),
            queue,
            orders,
            connected: true,
            greeted: false,
            greets_by: now + GREETING_MAX,
            is_late: false,
            handed: VecDeque::new(),
            since: now,
            patient_until: now,
            waiting: VecDeque::new(),
        }
    }

    /// Serves the runner until it is gone or the executor stops.
    pub(super) async fn run(mut self) {
        loop {
            match self.next().await {
                Input::Order(Order::Run(task)) => self.take_on(*task).await,
                Input::Order(Order::TakeBack) => self.take_back().await,
                Input::Order(Order::Exited(exit)) => {
                    self.drain().await;
                    return self.conclude(Some(exit)).await;
                }
                Input::Order(Order::MakerLost) => {
                    self.drain().await;
                    return self.conclude(None).await;
                }
                Input::Report(report) => self.take(report).await,
                Input::Disconnected => self.disconnect(),
                Input::Late => {
                    self.is_late = true;
                    self.pool.kill_runner(self.number);
                }
                Input::Slow => {
                    // What it has just taken cannot be taken back, and its end is about to be told.
                    self.patient_until = Instant::now() + PATIENCE;
                    let surplus = self.pool.stumbled();
                    self.take_back().await;
                    self.not_begun(surplus).await;
                }
                Input::Stopping => return self.discard(),
            }
        }
    }

    async fn next(&mut self) -> Input {
        tokio::select! {
            biased;
            () = self.pool.common.stopping.cancelled() => Input::Stopping,
            input = read(&mut self.stream, &mut self.received), if self.connected => input,
            () = sleep_until(self.greets_by), if !self.greeted && !self.is_late => Input::Late,
            order = self.orders.recv() => order.map_or(Input::Stopping, Input::Order),
            () = sleep_until(self.patient_until), if self.has_some_behind() => Input::Slow,
        }
    }

    fn has_some_behind(&self) -> bool {
        self.handed.len() + self.waiting.len() > 1
    }

    async fn take_on(&mut self, task: Task) {
        let (attempt, timed) = (task.attempt, task.timed);
        let spool = self.pool.common.spool(attempt);
        match pack(task, spool.clone()).await {
            Ok((frame, spilled)) => {
                let long = frame.len() > MESSAGE_BYTES_MAX;
                let handed = Handed { attempt, timed, long, begun: false, spool, spilled };
                self.waiting.push_back((handed, frame));
                self.hand_over().await;
            }
            Err(message) => {
                self.pool.runner_spared(self.number, attempt);
                let outcome = Outcome::Failed { fault: Fault::Executor, message };
                self.pool.common.report_end(attempt, outcome, <_>::default()).await;
            }
        }
    }

    /// Whether the queue may hold the rest of a long frame, which nothing must follow or tear.
    fn is_in_pieces(&self) -> bool {
        self.handed.front().is_some_and(|first| first.long && !first.begun)
    }

    /// Puts in the runner's queue what fits.
    async fn hand_over(&mut self) {
        while !self.is_in_pieces()
            && let Some((handed, frame)) = self.waiting.front()
        {
            let attempt = handed.attempt;
            let put = match self.handed.is_empty() {
                true => tokio::select! {
                    biased;
                    () = self.pool.common.stopping.cancelled() => return,
                    put = self.queue.put(frame) => put.map(|()| true),
                },
                false => self.queue.try_put(frame),
            };
            match put {
                Ok(true) => {
                    if self.handed.is_empty() {
                        self.begin_to_wait();
                    }
                    self.handed.extend(self.waiting.pop_front().map(|(handed, _)| handed));
                }
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(runner = self.number, %attempt, %error, "a task could not be handed over");
                    return self.disconnect();
                }
            }
        }
    }

    /// Takes back what waits and what the runner has not taken from its queue; somebody else may
    /// have it.
    async fn take_back(&mut self) {
        let frames = if self.is_in_pieces() { Vec::new() } else { self.queue.take_back() };
        let attempts: Vec<u64> = frames.iter().flat_map(|frame| attempts_of(frame)).collect();
        let is_back = |handed: &Handed| attempts.contains(&handed.attempt.to_bits());
        let (back, kept) = self.handed.drain(..).partition::<Vec<_>, _>(is_back);
        self.handed.extend(kept);
        let waiting = self.waiting.drain(..).map(|(handed, _)| handed);
        let back: Vec<AttemptId> = back
            .into_iter()
            .chain(waiting)
            .map(|handed| {
                remove_all(handed.spilled);
                handed.attempt
            })
            .collect();
        let TakenBack { not_begun, killed } = self.pool.taken_back(self.number, &back);
        for attempt in killed {
            self.pool.common.report_end(attempt, Outcome::Killed, <_>::default()).await;
        }
        self.not_begun(not_begun).await;
    }

    async fn not_begun(&self, attempts: Vec<AttemptId>) {
        for attempt in attempts {
            self.pool.common.report(attempt, Event::NotBegun).await;
        }
    }

    /// What follows is the end of the process; its maker tells of it.
    fn disconnect(&mut self) {
        self.connected = false;
        self.pool.runner_disconnected(self.number);
    }

    async fn take(&mut self, report: FromRunner) {
        match report {
            FromRunner::Hello(hello) => self.greet(&hello),
            FromRunner::Begun { attempt } => self.begin(attempt).await,
            FromRunner::Ended { attempt, outcome, stdout, stderr } => {
                self.end(attempt, outcome, stdout, stderr).await;
            }
        }
    }

    fn greet(&mut self, hello: &Hello) {
        if hello.version != frames::VERSION {
            tracing::error!(
                theirs = hello.version,
                ours = frames::VERSION,
                "a runner speaks another version"
            );
            return self.disconnect();
        }
        tracing::debug!(
            runner = self.number,
            pid = hello.pid,
            python = hello.python,
            "a runner is ready"
        );
        self.greeted = true;
        self.pool.runner_ready(self.number);
    }

    async fn begin(&mut self, attempt: u64) {
        let Some(current) = self.current(attempt) else { return };
        current.begun = true;
        if current.timed {
            let attempt = current.attempt;
            self.pool.common.report(attempt, Event::Begun).await;
        }
        self.hand_over().await;
    }

    async fn end(&mut self, attempt: u64, outcome: frames::Outcome, stdout: Blob, stderr: Blob) {
        let Some(current) = self.current(attempt) else { return };
        let attempt = current.attempt;
        let printed = (
            wire::payload(stdout, &current.spool.file(Spool::STDOUT)),
            wire::payload(stderr, &current.spool.file(Spool::STDERR)),
        );
        let outcome = match outcome {
            frames::Outcome::Completed(blob) => {
                wire::payload(blob, &current.spool.file(Spool::OUTPUT)).map(Outcome::Completed)
            }
            frames::Outcome::Failed(message) => {
                Some(Outcome::Failed { fault: Fault::Task, message })
            }
            frames::Outcome::NotStored(message) => {
                tracing::error!(runner = self.number, %message, "an output is lost");
                Some(Outcome::Failed { fault: Fault::Server, message })
            }
        };
        let (Some(outcome), (Some(stdout), Some(stderr))) = (outcome, printed) else {
            tracing::error!(runner = self.number, "a runner names a file that is not its own");
            return self.disconnect();
        };
        let took = self.begin_to_wait();
        if !self.pool.runner_done(self.number, attempt, took) {
            // It is being killed; it need not wait for the end of the grace period.
            return self.pool.kill_runner(self.number);
        }
        if let Some(current) = self.handed.pop_front() {
            remove_all(current.spilled);
        }
        self.hand_over().await;
        self.pool.common.report_end(attempt, outcome, (stdout, stderr)).await;
    }

    /// The runner goes on to its next task. Returns how long it was at the last one.
    fn begin_to_wait(&mut self) -> Duration {
        let now = Instant::now();
        self.patient_until = now + PATIENCE;
        now - std::mem::replace(&mut self.since, now)
    }

    /// The task that the runner is at.
    fn current(&mut self, attempt: u64) -> Option<&mut Handed> {
        let first = self.handed.front_mut();
        first.filter(|handed| handed.attempt.to_bits() == attempt)
    }

    /// Takes what the runner sent before it died. Whoever could send more is gone, so what can be
    /// read now is all; the reactor need not have noticed it yet.
    async fn drain(&mut self) {
        while self.connected && self.read_now() {}
        loop {
            match FromRunner::from_frame(&self.received) {
                Ok(Some((report, used))) => {
                    self.received.advance(used);
                    self.take(report).await;
                }
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn read_now(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        let read = rustix::net::recv(&self.stream, bytes.as_mut_slice(), RecvFlags::DONTWAIT);
        match read {
            Ok((count, _)) if count > 0 => {
                self.received.extend_from_slice(bytes.get(..count).unwrap_or_default());
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// The process is gone: tells what became of its task. `exit` is `None` when nobody knows how
    /// it went.
    async fn conclude(&mut self, exit: Option<Exit>) {
        let Some(departed) = self.pool.runner_gone(self.number) else { return };
        self.pool.common.count_end(&self.pool.kind, &departed);
        let files = Files::of(&self.pool.common.options.run_dir, self.number);
        if let Some(exit) = exit
            && !self.greeted
            && !departed.killed
        {
            let kind = &self.pool.kind;
            let message = match self.is_late {
                true => ends::never_greeted(kind, None, &files),
                false => ends::never_greeted(kind, Some(exit), &files),
            };
            tracing::error!(runner = self.number, message);
            self.pool.without_runner(&message).await;
        }
        let begun = self.handed.front().is_some_and(|first| first.begun);
        self.discard();
        let Departed { mut tasks, unwanted, killed } = departed;
        let first = if begun || killed { tasks.pop_front() } else { None };
        let (ended, not_begun) = tasks.iter().partition(|task| unwanted.contains(task));
        self.not_begun(not_begun).await;
        let ended: Vec<AttemptId> = ended;
        for attempt in ended {
            self.pool.common.report_end(attempt, Outcome::Killed, <_>::default()).await;
        }
        let Some(attempt) = first else { return files.remove() };
        let spool = self.pool.common.spool(attempt);
        let collect = move || files.collect(&spool);
        let printed = tokio::task::spawn_blocking(collect).await.unwrap_or_default();
        let outcome = match killed {
            true => Outcome::Killed,
            false => Outcome::Failed {
                fault: Fault::Runner,
                message: ends::how_it_died(&self.pool.kind, exit),
            },
        };
        self.pool.common.report_end(attempt, outcome, printed).await;
    }

    fn discard(&mut self) {
        let waiting = self.waiting.drain(..).map(|(handed, _)| handed);
        self.handed.drain(..).chain(waiting).for_each(|handed| remove_all(handed.spilled));
    }
}

async fn read(stream: &mut UnixStream, received: &mut BytesMut) -> Input {
    loop {
        match FromRunner::from_frame(received) {
            Ok(Some((report, used))) => {
                received.advance(used);
                return Input::Report(report);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "a runner sent what is no frame");
                return Input::Disconnected;
            }
        }
        match stream.read_buf(received).await {
            Ok(0) | Err(_) => return Input::Disconnected,
            Ok(_) => {}
        }
    }
}

async fn pack(task: Task, spool: Spool) -> Result<(Vec<u8>, Vec<PathBuf>), String> {
    let packed = if wire::needs_files(&task) {
        let packed = tokio::task::spawn_blocking(move || wire::pack(&task, &spool)).await;
        packed.unwrap_or_else(|error| Err(io::Error::other(error)))
    } else {
        wire::pack(&task, &spool)
    };
    let Packed { task, spilled } =
        packed.map_err(|error| format!("The task's inputs could not be laid down: {error}"))?;
    match ToRunner::Run(vec![task]).to_frame() {
        Ok(frame) => Ok((frame, spilled)),
        Err(error) => {
            remove_all(spilled);
            Err(format!("The task does not fit a frame: {error}"))
        }
    }
}

/// The wire forms of the attempts in a frame that was put in the queue.
fn attempts_of(frame: &[u8]) -> Vec<u64> {
    match ToRunner::from_frame(frame) {
        Ok(Some((ToRunner::Run(tasks), _))) => tasks.iter().map(|task| task.attempt).collect(),
        Ok(None) | Err(_) => Vec::new(),
    }
}

fn remove_all(paths: Vec<PathBuf>) {
    paths.iter().for_each(|path| capture::remove(path));
}
