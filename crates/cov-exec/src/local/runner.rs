//! The server's end of one runner: hands it tasks, passes on what it reports, and tells what
//! became of its task when it dies.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use cov_core::error::Fault;
use cov_core::frames::{self, Blob, Exit, FromRunner, Hello, Message as _};
use cov_core::ids::AttemptId;
use rustix::net::RecvFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::capture::{self, Files, Spool};
use super::ends;
use super::pool::Pool;
use super::wire::{self, Packed};
use crate::{Event, Outcome, Task};

/// A runner gets at most one task, the news of its end, and the news of its maker's end.
pub(super) const ORDERS_MAX: usize = 4;

/// How long a process may take from its start to its hello. It may have to import much first, on
/// a busy machine.
const GREETING_MAX: Duration = Duration::from_secs(60);

/// What the pool tells a runner's task.
#[derive(Debug)]
pub(super) enum Order {
    Run(Box<Task>),
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
    orders: mpsc::Receiver<Order>,
    connected: bool,
    greeted: bool,
    /// Until when it has to say hello.
    greets_by: Instant,
    is_late: bool,
    current: Option<Current>,
}

/// The task that the runner was sent.
#[derive(Debug)]
struct Current {
    attempt: AttemptId,
    begun: bool,
    spool: Spool,
    spilled: Vec<PathBuf>,
}

enum Input {
    Order(Order),
    Report(FromRunner),
    Disconnected,
    Late,
    Stopping,
}

impl Runner {
    pub(super) fn new(
        pool: Arc<Pool>,
        number: u64,
        stream: UnixStream,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        Self {
            pool,
            number,
            stream,
            received: BytesMut::new(),
            orders,
            connected: true,
            greeted: false,
            greets_by: Instant::now() + GREETING_MAX,
            is_late: false,
            current: None,
        }
    }

    /// Serves the runner until it is gone or the executor stops.
    pub(super) async fn run(mut self) {
        loop {
            match self.next().await {
                Input::Order(Order::Run(task)) => self.send(*task).await,
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
        }
    }

    /// Hands the runner a task.
    async fn send(&mut self, task: Task) {
        let attempt = task.attempt;
        let spool = self.pool.common.spool(attempt);
        let frame = match pack(task, spool.clone()).await {
            Ok((frame, spilled)) => {
                self.current = Some(Current { attempt, begun: false, spool, spilled });
                frame
            }
            Err(message) => {
                self.pool.runner_done(self.number);
                let outcome = Outcome::Failed { fault: Fault::Executor, message };
                return self.pool.common.report_end(attempt, outcome, <_>::default()).await;
            }
        };
        let sent = tokio::select! {
            biased;
            () = self.pool.common.stopping.cancelled() => return,
            sent = self.stream.write_all(&frame) => sent,
        };
        if let Err(error) = sent {
            tracing::debug!(runner = self.number, %attempt, %error, "a task could not be handed over");
            self.disconnect();
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
        let Some(current) = self.current_of(attempt) else { return };
        current.begun = true;
        let attempt = current.attempt;
        self.pool.common.report(attempt, Event::Begun).await;
    }

    async fn end(&mut self, attempt: u64, outcome: frames::Outcome, stdout: Blob, stderr: Blob) {
        let Some(current) = self.current_of(attempt) else { return };
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
        if !self.pool.runner_done(self.number) {
            // It is being killed; it need not wait for the end of the grace period.
            return self.pool.kill_runner(self.number);
        }
        if let Some(current) = self.current.take() {
            remove_all(current.spilled);
            self.pool.common.report_end(current.attempt, outcome, (stdout, stderr)).await;
        }
    }

    fn current_of(&mut self, attempt: u64) -> Option<&mut Current> {
        let current = self.current.as_mut();
        current.filter(|current| current.attempt.to_bits() == attempt)
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
        self.pool.common.count_end(&self.pool.kind, departed);
        let files = Files::of(&self.pool.common.options.run_dir, self.number);
        let current = self.current.take();
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
        let begun = current.as_ref().is_some_and(|current| current.begun);
        if let Some(current) = current {
            remove_all(current.spilled);
        }
        let Some(attempt) = departed.attempt else { return files.remove() };
        if !begun && !departed.killed {
            files.remove();
            return self.pool.common.report(attempt, Event::NotBegun).await;
        }
        let spool = self.pool.common.spool(attempt);
        let collect = move || files.collect(&spool);
        let printed = tokio::task::spawn_blocking(collect).await.unwrap_or_default();
        let outcome = match departed.killed {
            true => Outcome::Killed,
            false => Outcome::Failed {
                fault: Fault::Runner,
                message: ends::how_it_died(&self.pool.kind, exit),
            },
        };
        self.pool.common.report_end(attempt, outcome, printed).await;
    }

    fn discard(&mut self) {
        if let Some(current) = self.current.take() {
            remove_all(current.spilled);
        }
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
    match frames::ToRunner::Run(vec![task]).to_frame() {
        Ok(frame) => Ok((frame, spilled)),
        Err(error) => {
            remove_all(spilled);
            Err(format!("The task does not fit a frame: {error}"))
        }
    }
}

fn remove_all(paths: Vec<PathBuf>) {
    paths.iter().for_each(|path| capture::remove(path));
}
