//! Messages between the server and the host of executor plugins.
//!
//! The host is a Python process; its side is `python/cov_plugins/frames.py`, which must stay in
//! step. Tasks look as they do for runners. New variants and new members mean a new
//! [`VERSION`](super::VERSION).

use bincode::{Decode, Encode};

use super::{Blob, FRAME_BYTES_MAX, Hello, Message, REPORT_BYTES_MAX, Task};

/// An executor that the host knows by its name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Engine {
    /// The name.
    pub name: String,
    /// What the client said to it (JSON).
    pub data: String,
}

/// What a task is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Work {
    /// A function of Python.
    Python,
    /// An electron of a program that brings its own.
    Program {
        /// The program's digest, in the form in which it is written.
        digest: String,
        /// Where a worker elsewhere can fetch it.
        address: Option<String>,
        /// How large the address space of its processes may become. Bytes.
        memory_bytes_max: Option<u64>,
    },
    /// A command of its own.
    Command,
}

/// A task, and who runs it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Submission {
    /// The executor.
    pub engine: Engine,
    /// What the task is.
    pub work: Work,
    /// The task.
    pub task: Task,
}

/// A job that an earlier host submitted.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Attachment {
    /// The wire form of the attempt id.
    pub attempt: u64,
    /// The dispatch.
    pub dispatch: String,
    /// The electron's node.
    pub node: u32,
    /// The executor.
    pub engine: Engine,
    /// The job, as the host that submitted it named it.
    pub job: String,
}

/// What the server tells the host.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToHost {
    /// Run this.
    Run(Submission),
    /// Say what becomes of this.
    Attach(Attachment),
    /// End an attempt.
    Kill {
        /// Which.
        attempt: u64,
        /// Milliseconds that the executor has for it.
        grace_ms: u64,
    },
    /// Show what an attempt has printed so far.
    Show {
        /// Which.
        attempt: u64,
    },
    /// Say which executors there are.
    Find,
}

/// An executor that there is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Found {
    /// The name by which it is asked for.
    pub name: String,
    /// Whether its jobs outlive the host.
    pub managed: bool,
    /// The module or file that it comes from.
    pub origin: String,
    /// Why it cannot be used.
    pub fault: Option<String>,
}

/// What the host tells the server.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FromHost {
    /// Always first.
    Hello(Hello),
    /// Which executors there are.
    Found(Vec<Found>),
    /// The task is handed to its executor.
    Begun {
        /// Which.
        attempt: u64,
    },
    /// The executor runs the attempt as this job.
    Accepted {
        /// Which.
        attempt: u64,
        /// The job, by which another host can find it (JSON).
        job: String,
    },
    /// The attempt ended.
    Ended {
        /// Which.
        attempt: u64,
        /// With what.
        outcome: HostOutcome,
        /// What it printed.
        stdout: Blob,
        /// What it printed to its error stream.
        stderr: Blob,
    },
    /// Nobody knows what became of the attempt.
    Lost {
        /// Which.
        attempt: u64,
        /// Why not.
        message: String,
    },
    /// What an attempt has printed so far.
    Shown {
        /// Which.
        attempt: u64,
        /// To its output.
        stdout: Vec<u8>,
        /// To its error stream.
        stderr: Vec<u8>,
    },
}

/// With what an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum HostOutcome {
    /// The task returned; the archive of what it returned.
    Completed(Blob),
    /// The task failed; why.
    Failed(String),
    /// The task returned, and the spool did not take what it returned; why.
    NotStored(String),
    /// The executor did not do its work; why.
    Refused(String),
    /// The attempt was ended, as the server wanted.
    Killed,
    /// There is no executor of this name; the names of those that there are.
    Unknown(Vec<String>),
    /// The process that ran the task, elsewhere, died or could not run it; why.
    Died(String),
}

impl Message for ToHost {
    const BYTES_MAX: usize = FRAME_BYTES_MAX;
}

impl Message for FromHost {
    const BYTES_MAX: usize = REPORT_BYTES_MAX;
}
