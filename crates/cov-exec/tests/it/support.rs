//! What the tests share: an executor with folders of its own, tasks made of Python source, and
//! a line on which a running task and its test talk.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::transportable::{Attributes, Encoding, Header, TransportableObject};
use cov_exec::local::{LocalExecutor, LocalOptions};
use cov_exec::{Ending, Event, Executor, Outcome, Payload, Report, Runtime, Task};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// Longer than anything here may take, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The interpreter for tests.
pub(crate) fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("COV_TEST_PYTHON") {
        return PathBuf::from(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "COV_TEST_PYTHON is not set: make an interpreter with `cargo xtask sdk-venv` and name it"
    );
    let path = PathBuf::from("python3");
    let found = Command::new(&path).args(["-c", "import cloudpickle"]).output();
    assert!(
        found.is_ok_and(|output| output.status.success()),
        "python3 lacks cloudpickle: make an interpreter with `cargo xtask sdk-venv` and name it in COV_TEST_PYTHON"
    );
    path
}

/// The program that stands in for a server as the keeper.
pub(crate) fn keeper_program() -> PathBuf {
    example("keeper")
}

/// An example of this crate, which stands beside the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not there: cargo build --examples", path.display());
    path
}

/// Whether the interpreter for tests can import this.
pub(crate) fn has_module(name: &str) -> bool {
    let import =
        format!("import importlib.util, sys; sys.exit(not importlib.util.find_spec({name:?}))");
    Command::new(python()).args(["-c", &import]).status().unwrap().success()
}

/// A local executor, its folders and its reports.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) executor: LocalExecutor,
    pub(crate) reports: mpsc::Receiver<Report>,
}

impl Bench {
    pub(crate) fn new(workers: usize) -> Self {
        Self::with(|options| options.workers = workers)
    }

    pub(crate) fn with(change: impl FnOnce(&mut LocalOptions)) -> Self {
        // Shown when a test fails. A second executor in the same test finds it set.
        let log =
            tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::DEBUG);
        drop(log.try_init());
        let folder = tempfile::tempdir().unwrap();
        let run_dir = folder.path().join("run");
        let spool_dir = folder.path().join("spool");
        let mut options = LocalOptions::new(run_dir, spool_dir, "http://localhost:1".into());
        options.python = Some(python());
        change(&mut options);
        let (sender, reports) = mpsc::channel(64);
        Self { folder, executor: LocalExecutor::start(options, sender), reports }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn next(&mut self) -> Report {
        next(&mut self.reports).await
    }

    /// Submits a task and returns how it ended; it must have begun exactly once.
    pub(crate) async fn run(&mut self, task: Task) -> Ending {
        let attempt = task.attempt;
        self.executor.submit(task).await.unwrap();
        end_of(&mut self.reports, attempt).await
    }

    /// Runs Python source; returns what it printed as its `result`.
    pub(crate) async fn eval(&mut self, source: &str) -> String {
        completed(self.run(task(source)).await).object_string
    }
}

pub(crate) async fn next(reports: &mut mpsc::Receiver<Report>) -> Report {
    tokio::time::timeout(PATIENCE, reports.recv()).await.expect("no report came").unwrap()
}

/// Reports up to the end of this attempt, which is the only one under way.
pub(crate) async fn end_of(reports: &mut mpsc::Receiver<Report>, attempt: AttemptId) -> Ending {
    begin_of(reports, attempt).await;
    let report = next(reports).await;
    assert_eq!(report.attempt, attempt);
    match report.event {
        Event::Ended(ending) => ending,
        other => panic!("expected an end: {other:?}"),
    }
}

pub(crate) async fn begin_of(reports: &mut mpsc::Receiver<Report>, attempt: AttemptId) {
    let report = next(reports).await;
    assert_eq!(report.attempt, attempt);
    assert!(matches!(report.event, Event::Begun), "expected the begin: {:?}", report.event);
}

static ATTEMPTS: AtomicU32 = AtomicU32::new(0);

/// A task that calls this Python object, given as `module name`, with these values.
pub(crate) fn call(function: &str, args: &[&str]) -> Task {
    let args = args.iter().zip(1..);
    Task {
        attempt: AttemptId::new(1, ATTEMPTS.fetch_add(1, Ordering::Relaxed)),
        dispatch: "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse::<DispatchId>().unwrap(),
        node: NodeId(0),
        runtime: Runtime::Python,
        engine: None,
        function: archive(pickled_name(function)),
        hooks: None,
        run_callables: true,
        args: args.map(|(text, node)| (NodeId(node), archive(pickled_text(text)))).collect(),
        kwargs: Vec::new(),
        work_dir: None,
        timed: true,
    }
}

/// A task that runs Python source and returns what it leaves in `result`.
pub(crate) fn task(source: &str) -> Task {
    call("builtins eval", &[&expression(source)])
}

/// Python source as an expression whose value is what the source leaves in `result`.
fn expression(source: &str) -> String {
    // What JSON makes of a text, Python reads back as the same text.
    let literal = serde_json::to_string(source).unwrap();
    format!("(lambda g: (exec({literal}, g), g.get('result'))[1])({{}})")
}

pub(crate) fn pickled_name(function: &str) -> Vec<u8> {
    let (module, name) = function.split_once(' ').unwrap();
    format!("c{module}\n{name}\n.").into_bytes()
}

/// A pickle that is read as the value of this expression.
pub(crate) fn pickled_value(expression: &str) -> Vec<u8> {
    let mut pickle = b"cbuiltins\neval\n(".to_vec();
    let text = pickled_text(expression);
    pickle.extend_from_slice(&text[..text.len() - 1]);
    pickle.extend_from_slice(b"tR.");
    pickle
}

pub(crate) fn pickled_text(text: &str) -> Vec<u8> {
    let mut pickle = vec![b'X'];
    pickle.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    pickle.extend_from_slice(text.as_bytes());
    pickle.push(b'.');
    pickle
}

/// An archive of pickled bytes.
pub(crate) fn archive(pickle: Vec<u8>) -> Payload {
    archive_by("", pickle)
}

/// An archive of bytes that this version of Python pickled.
pub(crate) fn archive_by(py_version: &str, pickle: Vec<u8>) -> Payload {
    let header = Header {
        py_version: py_version.to_owned(),
        cloudpickle_version: String::new(),
        attrs: Attributes::default(),
        encoding: Encoding::Cloudpickle,
    };
    let object = TransportableObject { header, object_string: String::new(), data: pickle.into() };
    Payload::Bytes(object.to_archive().into())
}

/// A hook as the SDK writes it: `eval` of an expression that runs this source.
pub(crate) fn hook(source: &str, keyword: &str) -> Value {
    let object = |pickle: &[u8]| {
        let attributes =
            json!({"_object": STANDARD.encode(pickle), "_object_string": "", "_header": {}});
        json!({"type": "TransportableObject", "attributes": attributes})
    };
    let mut args = b"(".to_vec();
    let text = pickled_text(&expression(source));
    args.extend_from_slice(&text[..text.len() - 1]);
    args.extend_from_slice(b"l.");
    json!({"type": "DepsCall", "short_name": "covalent", "attributes": {
        "apply_fn": object(&pickled_name("builtins eval")),
        "apply_args": object(&args),
        "apply_kwargs": object(b"}."),
        "retval_keyword": keyword,
    }})
}

pub(crate) fn completed(ending: Ending) -> TransportableObject {
    match ending.outcome {
        Outcome::Completed(output) => TransportableObject::from_archive(&bytes(&output)).unwrap(),
        other => panic!("expected completion: {other:?}; stderr: {}", text(&ending.stderr)),
    }
}

pub(crate) fn failed(ending: &Ending) -> (cov_core::error::Fault, &str) {
    match &ending.outcome {
        Outcome::Failed { fault, message } => (*fault, message),
        other => panic!("expected a failure: {other:?}"),
    }
}

pub(crate) fn bytes(payload: &Payload) -> Vec<u8> {
    match payload {
        Payload::Bytes(bytes) => bytes.to_vec(),
        Payload::File(path) => std::fs::read(path).unwrap(),
    }
}

pub(crate) fn text(payload: &Payload) -> String {
    String::from_utf8(bytes(payload)).unwrap()
}

/// A socket on which a running task tells that it has come so far, and waits to be let on.
pub(crate) struct Line {
    listener: UnixListener,
    path: PathBuf,
}

impl Line {
    pub(crate) fn new(folder: &Path) -> Self {
        let path = folder.join(format!("line{}", ATTEMPTS.fetch_add(1, Ordering::Relaxed)));
        Self { listener: UnixListener::bind(&path).unwrap(), path }
    }

    /// Python source: defines `tell(text)` and `wait()`, which returns when the test lets go or
    /// hangs up.
    pub(crate) fn prelude(&self) -> String {
        format!(
            "import socket\nline = socket.socket(socket.AF_UNIX)\nline.connect({:?})\n\
             def tell(text): line.sendall((str(text) + '\\n').encode())\n\
             def wait(): return line.recv(1)\n",
            self.path
        )
    }

    pub(crate) async fn answer(&self) -> Talk {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        Talk { stream: accepted.expect("no task called").unwrap().0 }
    }
}

pub(crate) struct Talk {
    stream: UnixStream,
}

impl Talk {
    /// What the task tells next, a line.
    pub(crate) async fn hear(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            let read = tokio::time::timeout(PATIENCE, self.stream.read_u8()).await;
            match read.expect("the task says nothing") {
                Ok(b'\n') | Err(_) => return String::from_utf8(line).unwrap(),
                Ok(byte) => line.push(byte),
            }
        }
    }

    pub(crate) async fn let_on(&mut self) {
        self.stream.write_all(b".").await.unwrap();
    }

    /// Returns when every process that holds the other end is gone.
    pub(crate) async fn gone(mut self) {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        // A process that is killed with unread data resets the connection; it is gone then, too.
        drop(tokio::time::timeout(PATIENCE, read).await.expect("somebody holds the line"));
    }
}
