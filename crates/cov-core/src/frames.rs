//! Frames between the server and the processes that run tasks: the messages and their bytes.
//! Encodes and decodes; reads and writes no sockets.
//!
//! A frame is a length (`u32`, little-endian) and that many bytes of one message. Messages are
//! encoded by bincode with fixed-width little-endian integers: lengths are `u64`, enum variants
//! `u32`, options begin with one byte. That is plain enough for a short decoder in any language;
//! the Python runner has one, in `python/cov_runner/frames.py`, which must stay in step.
//!
//! The first message of a runner is [`FromRunner::Hello`] with its [`VERSION`]. New variants and
//! new members mean a new version.
//!
//! ```
//! use cov_core::frames::{FromRunner, Message};
//! let mut bytes = FromRunner::Begun { attempt: 7 }.to_frame()?;
//! bytes.extend_from_slice(b"more");
//! let Some((message, used)) = FromRunner::from_frame(&bytes)? else { panic!("cut off") };
//! assert_eq!(message, FromRunner::Begun { attempt: 7 });
//! assert_eq!(used, bytes.len() - 4);
//! # Ok::<(), cov_core::frames::Error>(())
//! ```

pub mod host;

use bincode::config::{self, Configuration, Fixint, Limit, LittleEndian};
use bincode::{Decode, Encode};

/// Version of the messages.
pub const VERSION: u32 = 2;

/// Longest message to a runner. Bytes. Larger payloads go by file.
pub const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Longest message from a runner. Bytes. Larger payloads go by file.
pub const REPORT_BYTES_MAX: usize = 8 * 1024 * 1024;

const LENGTH_BYTES: usize = 4;

/// Why bytes are no frame, or a message does not fit one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message is over its limit.
    #[error("a message of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The longest that is taken, in bytes.
        limit: usize,
    },
    /// The bytes are no message of the expected kind.
    #[error("the frame holds no message of the expected kind")]
    Decode(#[source] bincode::error::DecodeError),
    /// Bytes follow the message within its frame.
    #[error("{count} bytes follow the message in its frame")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// The message could not be encoded.
    #[error("the message cannot be encoded")]
    Encode(#[source] bincode::error::EncodeError),
}

/// Bytes on their way to or from a task.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Blob {
    /// In the frame.
    Inline(Vec<u8>),
    /// In a file; its path, as the operating system has it.
    File(Vec<u8>),
}

/// Where a task shall run.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct WorkDir {
    /// The folder's path, as the operating system has it.
    pub path: Vec<u8>,
    /// Whether the task gets a folder of its own below it.
    pub unique: bool,
}

/// A positional argument.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Argument {
    /// The node whose output it is.
    pub node: u32,
    /// The value's archive.
    pub value: Blob,
}

/// A keyword argument.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KeywordArgument {
    /// The keyword.
    pub name: String,
    /// The node whose output it is.
    pub node: u32,
    /// The value's archive.
    pub value: Blob,
}

/// One attempt to run one electron.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Task {
    /// The wire form of the attempt id.
    pub attempt: u64,
    /// The dispatch.
    pub dispatch: String,
    /// The electron's node.
    pub node: u32,
    /// The callable's archive.
    pub function: Blob,
    /// The hooks around it (JSON).
    pub hooks: Option<Blob>,
    /// Whether callables in the hooks run.
    pub run_callables: bool,
    /// Positional arguments, in order.
    pub args: Vec<Argument>,
    /// Keyword arguments, in order.
    pub kwargs: Vec<KeywordArgument>,
    /// Where to run; nothing leaves the working directory alone.
    pub work_dir: Option<WorkDir>,
}

/// What the server tells a runner.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToRunner {
    /// Run these, one after the other.
    Run(Vec<Task>),
}

/// Who speaks, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Version of the messages that it speaks.
    pub version: u32,
    /// Its process id.
    pub pid: u32,
    /// Version of its Python.
    pub python: String,
    /// Version of its cloudpickle.
    pub cloudpickle: String,
    /// Version of its covalent; empty when there is none.
    pub covalent: String,
}

/// What a runner tells the server.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FromRunner {
    /// Always first.
    Hello(Hello),
    /// The task's code is about to run.
    Begun {
        /// Which.
        attempt: u64,
    },
    /// The task ended.
    Ended {
        /// Which.
        attempt: u64,
        /// With what.
        outcome: Outcome,
        /// What it printed.
        stdout: Blob,
        /// What it printed to its error stream.
        stderr: Blob,
    },
}

/// With what a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// It returned; the archive of what it returned.
    Completed(Blob),
    /// It failed; the traceback.
    Failed(String),
    /// It returned, and the spool did not take what it returned; why.
    NotStored(String),
}

/// What the server tells the zygote.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToZygote {
    /// Make a runner. Its end of a socket pair is attached to the frame's first byte.
    Fork {
        /// The number by which server and zygote call it.
        runner: u64,
    },
    /// End a runner and all that it started.
    Kill {
        /// Which.
        runner: u64,
        /// Milliseconds between SIGTERM and SIGKILL.
        grace_ms: u64,
    },
}

/// A program to start, as the operating system has its parts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Launch {
    /// The executable: a path, or a name that is looked for on the process's own `PATH`.
    pub program: Vec<u8>,
    /// What follows the program's name.
    pub arguments: Vec<Vec<u8>>,
    /// Environment variables, beside those of the server or instead of them.
    pub variables: Vec<(Vec<u8>, Vec<u8>)>,
    /// The folder to start in, which exists; without it, that of the server.
    pub folder: Option<Vec<u8>>,
    /// How large the process's address space may become. Bytes.
    pub memory_bytes_max: Option<u64>,
}

/// What the server tells the keeper of processes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ToKeeper {
    /// Start a process in a group of its own. Its standard input, output and error stream are
    /// attached to the frame's first byte, in this order.
    Start {
        /// The number by which server and keeper call it.
        process: u64,
        /// What to start.
        launch: Launch,
    },
    /// End a process and all that it started.
    Kill {
        /// Which.
        process: u64,
        /// Milliseconds between SIGTERM and SIGKILL.
        grace_ms: u64,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Exit {
    /// By itself, with this code.
    Code(u32),
    /// By this signal.
    Signal(u32),
}

/// What the zygote tells the server. The keeper of processes tells the same of its processes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum FromZygote {
    /// Always first: runners can be forked.
    Hello(Hello),
    /// A runner was made.
    Forked {
        /// Which.
        runner: u64,
        /// Its process id, which is also that of its process group.
        pid: u32,
    },
    /// A runner ended, and everything that it started is gone.
    Exited {
        /// Which.
        runner: u64,
        /// How.
        exit: Exit,
    },
    /// The system made no process.
    ForkFailed {
        /// For which runner.
        runner: u64,
        /// What the system said.
        message: String,
    },
}

/// A message that travels in frames.
pub trait Message: Encode + Decode<()> {
    /// Longest form that is sent or taken. Bytes.
    const BYTES_MAX: usize;

    /// The message as a whole frame.
    ///
    /// # Errors
    /// `TooLong`: it is over the limit.
    fn to_frame(&self) -> Result<Vec<u8>, Error> {
        let mut frame = vec![0; LENGTH_BYTES];
        bincode::encode_into_std_write(self, &mut frame, configuration()).map_err(Error::Encode)?;
        let length = frame.len() - LENGTH_BYTES;
        let too_long = Error::TooLong { length, limit: Self::BYTES_MAX };
        if length > Self::BYTES_MAX {
            return Err(too_long);
        }
        let Ok(prefix) = u32::try_from(length) else { return Err(too_long) };
        if let Some(place) = frame.get_mut(..LENGTH_BYTES) {
            place.copy_from_slice(&prefix.to_le_bytes());
        }
        Ok(frame)
    }

    /// The first message in `bytes` and how many of them its frame takes; `None` while it is not
    /// complete.
    ///
    /// # Errors
    /// The bytes are no frame with such a message. Nothing that follows can be read then.
    fn from_frame(bytes: &[u8]) -> Result<Option<(Self, usize)>, Error> {
        let Some((prefix, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > Self::BYTES_MAX {
            return Err(Error::TooLong { length, limit: Self::BYTES_MAX });
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let (message, used) =
            bincode::decode_from_slice(body, configuration()).map_err(Error::Decode)?;
        if used != length {
            return Err(Error::Trailing { count: length - used });
        }
        Ok(Some((message, LENGTH_BYTES + length)))
    }
}

/// Bounds what a lying length inside a message can make the decoder reserve.
fn configuration() -> Configuration<LittleEndian, Fixint, Limit<FRAME_BYTES_MAX>> {
    config::standard().with_fixed_int_encoding().with_limit::<FRAME_BYTES_MAX>()
}

impl Message for ToRunner {
    const BYTES_MAX: usize = FRAME_BYTES_MAX;
}

impl Message for FromRunner {
    const BYTES_MAX: usize = REPORT_BYTES_MAX;
}

impl Message for ToZygote {
    const BYTES_MAX: usize = 1024;
}

impl Message for ToKeeper {
    const BYTES_MAX: usize = 4 * 1024 * 1024;
}

impl Message for FromZygote {
    const BYTES_MAX: usize = 64 * 1024;
}

#[cfg(test)]
mod tests;
