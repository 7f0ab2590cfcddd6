//! The hands: runs tasks. The only crate that starts processes. Knows tasks and attempts, not
//! dispatches: it decides neither what runs next nor what a result means.

pub mod keeper;
pub mod local;
pub mod metrics;
pub mod plugins;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::error::Fault;
use cov_core::executor::ExecutorSpec;
use cov_core::ids::{AttemptId, ContentId, DispatchId, NodeId};

pub use crate::metrics::Metrics;

/// Bytes on their way to or from a task: small ones in memory, large ones in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// In memory.
    Bytes(Bytes),
    /// A file. On the way to a task nobody may change or remove it; on the way back it stands in
    /// the executor's spool folder and belongs to the receiver.
    File(PathBuf),
}

impl Default for Payload {
    fn default() -> Self {
        Self::Bytes(Bytes::new())
    }
}

/// Where a task shall run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkDir {
    /// The folder; created if it does not exist.
    pub path: PathBuf,
    /// Whether the task gets a folder of its own below it, `<dispatch id>/node_<node id>`.
    pub unique: bool,
}

/// An executable that brings its own electrons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its digest, by which it is known.
    pub digest: ContentId,
    /// Its bytes; in a file, as a rule.
    pub content: Payload,
    /// Where a machine that has none of the server's files can fetch it, if it can.
    pub address: Option<String>,
    /// How large the address space of one of its processes may become. Bytes.
    pub memory_bytes_max: Option<u64>,
}

/// What runs a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runtime {
    /// A runner in Python.
    Python,
    /// The program that holds the electron.
    Program(Program),
    /// A command of its own; see [`cov_core::command`].
    Command,
}

/// One attempt to run one electron.
#[derive(Debug, Clone)]
pub struct Task {
    /// Names this attempt; every report carries it.
    pub attempt: AttemptId,
    /// The dispatch, for what the task can see of it.
    pub dispatch: DispatchId,
    /// The electron, likewise.
    pub node: NodeId,
    /// What runs it.
    pub runtime: Runtime,
    /// What the client says to the executor that it asks for; `None` for the server's own.
    pub engine: Option<Arc<ExecutorSpec>>,
    /// The callable: a `TransportableObject` archive.
    pub function: Payload,
    /// The hooks around it, as the client wrote them (JSON), if any.
    pub hooks: Option<Payload>,
    /// Whether callables in the hooks (before, after) run. Off for nodes that take a value apart:
    /// they inherit the hooks of the electron that made it.
    pub run_callables: bool,
    /// Positional arguments: the node each comes from, and its output's archive.
    pub args: Vec<(NodeId, Payload)>,
    /// Keyword arguments, likewise.
    pub kwargs: Vec<(String, NodeId, Payload)>,
    /// Where to run; `None` leaves the runner's working directory alone.
    pub work_dir: Option<WorkDir>,
    /// Whether the task has a time limit, which counts from [`Event::Begun`]. Otherwise an executor
    /// need not tell of that.
    pub timed: bool,
}

/// Tasks that the same runners run, one like the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Electrons in Python.
    Python,
    /// Those of one program, under one limit of memory in bytes.
    Program(ContentId, Option<u64>),
    /// Tasks that have nothing in common.
    Other,
}

/// What an executor tells of an attempt.
#[derive(Debug)]
pub struct Report {
    /// The attempt.
    pub attempt: AttemptId,
    /// What happened.
    pub event: Event,
}

/// An attempt that an engine outside runs, as an earlier life of the server left it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Names the attempt; every report carries it.
    pub attempt: AttemptId,
    /// The dispatch, for what the executor tells its engine of it.
    pub dispatch: DispatchId,
    /// The electron, likewise.
    pub node: NodeId,
    /// What the client says to the executor.
    pub engine: Arc<ExecutorSpec>,
    /// What [`Event::Accepted`] told last.
    pub handle: Box<str>,
}

/// What can happen to an attempt. `Begun` comes at most once and `Accepted` a few times, then
/// exactly one of the others.
#[derive(Debug)]
pub enum Event {
    /// The task's code is about to run. Told for [`Task::timed`] ones.
    Begun,
    /// An engine outside has taken the task, and goes on with it whatever becomes of the server.
    Accepted {
        /// By what the attempt is found again, for [`Executor::attach`]. No longer than
        /// [`HANDLE_BYTES_MAX`].
        handle: Box<str>,
    },
    /// The attempt ended.
    Ended(Ending),
    /// The attempt never began and will not: its runner went before it took the task. It can be
    /// submitted again under a new attempt id.
    NotBegun,
    /// What became of the attempt cannot be known: what could tell is gone. It may have run.
    Lost,
}

/// Longest handle of a job. Bytes.
pub const HANDLE_BYTES_MAX: usize = 64 * 1024;

/// How an attempt ended.
#[derive(Debug)]
pub struct Ending {
    /// With what.
    pub outcome: Outcome,
    /// What it printed.
    pub stdout: Payload,
    /// What it printed to its error stream.
    pub stderr: Payload,
}

/// With what an attempt ended.
#[derive(Debug)]
pub enum Outcome {
    /// The task returned; the archive of what it returned.
    Completed(Payload),
    /// The task failed.
    Failed {
        /// Whose fault it is.
        fault: Fault,
        /// A traceback, or a sentence that says what happened and what to do.
        message: String,
    },
    /// The attempt was killed because [`Executor::kill`] asked for it. Reported when the whole
    /// process group is gone.
    Killed,
}

/// Why an executor does not take a task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The executor is stopping.
    #[error("the executor is stopping")]
    Stopping,
    /// The executor could not be started.
    #[error("the executor cannot be started: {0}")]
    Start(String),
    /// The executor finds no attempt of an earlier life again.
    #[error("the executor does not take up what it began before the server was started")]
    NotAttachable,
    /// The operating system refused something.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Runs tasks. Reports go to the channel that the executor was made with, in order per attempt.
#[async_trait]
pub trait Executor: Debug + Send + Sync + 'static {
    /// How many tasks can run at once. The caller never submits more than this beyond those that
    /// have ended, but see [`Executor::room`].
    fn slots(&self) -> usize;

    /// How many tasks of a lane it has use for at once. More than there are slots when they are so
    /// short that it had better have the next ones at hand: then the caller may submit more, as long
    /// as everything that is under way is of this lane. What cannot begin soon after all is given
    /// back, by [`Event::NotBegun`].
    fn room(&self, _lane: Lane) -> usize {
        self.slots()
    }

    /// Takes over a task. Whatever becomes of it is reported, also if the executor fails.
    ///
    /// # Errors
    /// `Stopping`; the task was not taken and nothing is reported.
    async fn submit(&self, task: Task) -> Result<(), Error>;

    /// Takes up an attempt that was submitted before the server was started anew. From then on
    /// everything is reported as after [`Executor::submit`], and [`Event::Lost`] if nothing can be.
    ///
    /// # Errors
    /// `NotAttachable` unless the executor says otherwise, and `Stopping`; nothing is reported.
    async fn attach(&self, _job: Job) -> Result<(), Error> {
        Err(Error::NotAttachable)
    }

    /// Ends an attempt: SIGTERM to its whole process group, SIGKILL after the grace period.
    /// Reported as [`Outcome::Killed`] when all of it is gone. Unknown attempts are ignored.
    async fn kill(&self, attempt: AttemptId);

    /// What a running attempt has printed so far: stdout and stderr. `None` when it does not run
    /// here.
    async fn live_output(&self, attempt: AttemptId) -> Option<(Bytes, Bytes)>;

    /// Ends all runners, at once, and returns when they are gone. Attempts under way are not
    /// reported any more: the server runs them again after its next start.
    async fn stop(&self);
}

/// An executor that a [`Finder`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name by which electrons ask for it.
    pub name: String,
    /// How many tasks run there at once.
    pub slots: usize,
    /// What it is made of: a module's name or a file's path.
    pub origin: String,
    /// Whether it takes up its attempts again after the server was started anew.
    pub attaches: bool,
    /// Why it cannot be used, if it cannot.
    pub fault: Option<String>,
}

/// Has executors that are not known when the server starts. Their reports go to the channel that
/// it was made with.
#[async_trait]
pub trait Finder: Debug + Send + Sync + 'static {
    /// The executor for tasks that ask for `name`, always the same one. Whether there is one shows
    /// when it is given a task, which fails if not.
    fn executor(&self, name: &str) -> Arc<dyn Executor>;

    /// All that can be found now. May start what looks for them.
    ///
    /// # Errors
    /// `Start`: it cannot look; the text says what to do.
    async fn found(&self) -> Result<Vec<Found>, Error>;

    /// Ends all of its executors, as [`Executor::stop`] does.
    async fn stop(&self);
}
