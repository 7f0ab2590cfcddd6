//! Starts the example programs as a server does, and speaks frames with them.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use cov::core::frames::{self, Argument, Blob, FromRunner, Hello, Message as _, Outcome, ToRunner};
use cov::core::transportable::{Encoding, TransportableObject};
use serde::Serialize;
use serde_json::json;
use tempfile::TempDir;

/// The executable of an example, which stands beside the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().nth(2).unwrap().join("examples");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not there: cargo build --examples", path.display());
    path
}

/// A program that runs as a runner.
pub(crate) struct Program {
    child: Child,
    stream: UnixStream,
    received: Vec<u8>,
    pub(crate) folder: TempDir,
}

/// How a task ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    pub(crate) fn start(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = Command::new(example(name))
            .env("COV_RUNNER", "1")
            .env("COV_RUNNER_STDOUT", folder.path().join("runner-0.out"))
            .env("COV_RUNNER_STDERR", folder.path().join("runner-0.err"))
            .env("COV_RUNNER_SPOOL", folder.path())
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, stream: ours, received: Vec::new(), folder }
    }

    /// Starts it and takes its greeting.
    pub(crate) fn greeted(name: &str) -> Self {
        let mut program = Self::start(name);
        let pid = program.child.id();
        let expected = Hello {
            version: frames::VERSION,
            pid,
            python: String::new(),
            cloudpickle: String::new(),
            covalent: String::new(),
        };
        assert_eq!(program.receive(), Some(FromRunner::Hello(expected)));
        program
    }

    pub(crate) fn send(&mut self, tasks: Vec<frames::Task>) {
        self.stream.write_all(&ToRunner::Run(tasks).to_frame().unwrap()).unwrap();
    }

    /// The next message; `None` when the program is gone.
    pub(crate) fn receive(&mut self) -> Option<FromRunner> {
        let mut chunk = [0; 4096];
        loop {
            if let Some((message, used)) = FromRunner::from_frame(&self.received).unwrap() {
                self.received.drain(..used);
                return Some(message);
            }
            match self.stream.read(&mut chunk).unwrap() {
                0 => return None,
                count => self.received.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// The connection itself.
    pub(crate) fn raw(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// Takes the begin and the end of an attempt.
    pub(crate) fn ended(&mut self, expected: u64) -> Ended {
        assert_eq!(self.receive(), Some(FromRunner::Begun { attempt: expected }));
        match self.receive() {
            Some(FromRunner::Ended { attempt, outcome, stdout, stderr }) => {
                assert_eq!(attempt, expected);
                Ended { outcome, stdout: text(&stdout), stderr: text(&stderr) }
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn run(&mut self, task: frames::Task) -> Ended {
        let attempt = task.attempt;
        self.send(vec![task]);
        self.ended(attempt)
    }

    /// What it has printed into its files.
    pub(crate) fn printed(&self, ending: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("runner-0.{ending}"))).unwrap()
    }

    /// Closes the connection, and how the program ends then.
    pub(crate) fn close(mut self) -> ExitStatus {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
        self.child.wait().unwrap()
    }

    /// How it ends by itself.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Ended {
    /// What the task returned.
    pub(crate) fn object(&self) -> TransportableObject {
        match &self.outcome {
            Outcome::Completed(blob) => TransportableObject::from_archive(&bytes(blob)).unwrap(),
            Outcome::Failed(message) | Outcome::NotStored(message) => panic!("{message}"),
        }
    }

    /// Why it failed.
    pub(crate) fn failure(&self) -> &str {
        match &self.outcome {
            Outcome::Failed(message) => message,
            other => panic!("it ended with {other:?}"),
        }
    }
}

pub(crate) fn bytes(blob: &Blob) -> Vec<u8> {
    match blob {
        Blob::Inline(bytes) => bytes.clone(),
        Blob::File(path) => std::fs::read(path_of(path)).unwrap(),
    }
}

pub(crate) fn path_of(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn text(blob: &Blob) -> String {
    String::from_utf8(bytes(blob)).unwrap()
}

/// A call of an electron; the node of an argument is its position.
pub(crate) fn task(attempt: u64, electron: &str, args: Vec<TransportableObject>) -> frames::Task {
    let function = json!({"electron": electron, "output": "bincode"});
    task_of(attempt, &function, args)
}

/// As [`task`], with the whole function.
pub(crate) fn task_of(
    attempt: u64,
    function: &serde_json::Value,
    args: Vec<TransportableObject>,
) -> frames::Task {
    let function = TransportableObject::from_json(function).unwrap().to_archive();
    let args = (0..).zip(args);
    frames::Task {
        attempt,
        dispatch: "some-dispatch".to_owned(),
        node: 40,
        function: Blob::Inline(function),
        hooks: None,
        run_callables: true,
        args: args
            .map(|(node, value)| Argument { node, value: Blob::Inline(value.to_archive()) })
            .collect(),
        kwargs: Vec::new(),
        work_dir: None,
    }
}

pub(crate) fn bincode<T: Serialize>(value: T) -> TransportableObject {
    TransportableObject::from_bincode(&value, String::new()).unwrap()
}

pub(crate) fn json_object<T: Serialize>(value: T) -> TransportableObject {
    TransportableObject::from_json(&value).unwrap()
}

/// A value as cloudpickle would have written it.
pub(crate) fn pickled(data: &'static [u8]) -> TransportableObject {
    let mut object = json_object(());
    object.header.encoding = Encoding::Cloudpickle;
    object.data = data.into();
    object
}
