//! A server on a free port over a real dispatcher and the store in memory. Tasks run in the local
//! pool, or are ended by the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::AttemptId;
use cov_core::time::{Clock, Timestamp};
use cov_dispatcher::{Executors, Parts, Service};
use cov_exec::local::{LocalExecutor, LocalOptions};
use cov_exec::plugins::{PluginHost, PluginOptions};
use cov_exec::{Ending, Error, Event, Executor, Outcome, Payload, Report, Task};
use cov_http::{Options, StagingArchive};
use cov_store::MemoryStore;
use cov_store::faulty::{Faults, Faulty};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::client::{Answer, Ask};

/// A clock that moves a millisecond whenever it is looked at.
#[derive(Debug)]
struct SteppingClock(AtomicI64);

impl Clock for SteppingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1_000, Ordering::Relaxed))
    }
}

/// Takes tasks and leaves it to the test to end them.
#[derive(Debug)]
pub(crate) struct HeldTasks {
    reports: mpsc::Sender<Report>,
    taken: Mutex<Vec<Task>>,
    arrived: Notify,
}

impl HeldTasks {
    /// Waits for a task and ends it with `output`.
    pub(crate) async fn complete_next(&self, output: &[u8]) {
        let attempt = loop {
            let arrived = self.arrived.notified();
            let task = self.taken.lock().unwrap().pop();
            match task {
                Some(task) => break task.attempt,
                None => arrived.await,
            }
        };
        let payload = Payload::Bytes(Bytes::copy_from_slice(output));
        let ending = Ending {
            outcome: Outcome::Completed(payload),
            stdout: Payload::default(),
            stderr: Payload::default(),
        };
        for event in [Event::Begun, Event::Ended(ending)] {
            self.reports.send(Report { attempt, event }).await.unwrap();
        }
    }

    /// Waits until a task was taken.
    pub(crate) async fn taken(&self) {
        loop {
            let arrived = self.arrived.notified();
            if !self.taken.lock().unwrap().is_empty() {
                return;
            }
            arrived.await;
        }
    }
}

#[async_trait]
impl Executor for HeldTasks {
    fn slots(&self) -> usize {
        4
    }

    async fn submit(&self, task: Task) -> Result<(), Error> {
        self.taken.lock().unwrap().push(task);
        self.arrived.notify_waiters();
        Ok(())
    }

    async fn kill(&self, attempt: AttemptId) {
        let ending = Ending {
            outcome: Outcome::Killed,
            stdout: Payload::default(),
            stderr: Payload::default(),
        };
        self.taken.lock().unwrap().retain(|task| task.attempt != attempt);
        let report = Report { attempt, event: Event::Ended(ending) };
        self.reports.send(report).await.unwrap();
    }

    async fn live_output(&self, attempt: AttemptId) -> Option<(Bytes, Bytes)> {
        let taken = self.taken.lock().unwrap();
        taken.iter().find(|task| task.attempt == attempt)?;
        Some((Bytes::from_static(b"so far\n"), Bytes::new()))
    }

    async fn stop(&self) {}
}

#[derive(Debug)]
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) tasks: Arc<HeldTasks>,
    pub(crate) store_faults: Faults,
    service: Service,
    trigger_service: cov_triggers::Service,
    serving: JoinHandle<()>,
    quit: oneshot::Sender<()>,
    _folder: tempfile::TempDir,
}

impl TestServer {
    /// A server whose tasks the test ends.
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        Self::assemble(options, None).await
    }

    /// A server whose tasks run.
    pub(crate) async fn with_python(python: PathBuf) -> Self {
        Self::assemble(Options::default(), Some(python)).await
    }

    /// With real Python runners, and the executor plugins of a folder.
    pub(crate) async fn with_plugins(python: PathBuf, plugins: &Path) -> Self {
        Self::made(Options::default(), Some(python), Some(plugins)).await
    }

    async fn assemble(options: Options, python: Option<PathBuf>) -> Self {
        Self::made(options, python, None).await
    }

    async fn made(mut options: Options, python: Option<PathBuf>, plugins: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        options.listen = Some(address);
        let store_faults = Faults::default();
        let store = Faulty::new(MemoryStore::new().unwrap(), store_faults.clone());
        let store = Arc::new(store);
        let (reporter, reports) = mpsc::channel(64);
        let tasks = Arc::new(HeldTasks {
            reports: reporter.clone(),
            taken: Mutex::default(),
            arrived: Notify::new(),
        });
        let (run, url) = (folder.path().join("run"), format!("http://{address}"));
        let spool = cov_store::Contents::spool(&*store).to_owned();
        let python = python.map(|python| undisturbed(&python, folder.path()));
        let executor: Arc<dyn Executor> = match &python {
            Some(_) => {
                let local = LocalOptions::new(run.clone(), spool.clone(), url.clone());
                let local = LocalOptions { python: python.clone(), workers: 2, ..local };
                Arc::new(LocalExecutor::start(local, reporter.clone()))
            }
            None => Arc::clone(&tasks) as Arc<dyn Executor>,
        };
        let mut executors = Executors::new(executor);
        if let Some(plugins) = plugins {
            let mut options = PluginOptions::new(run, spool.join("plugins"), url);
            (options.python, options.executor_dir) = (python, Some(plugins.to_owned()));
            executors = executors.with_finder(Arc::new(PluginHost::new(options, reporter.clone())));
        }
        drop(reporter);
        let sublattices = Arc::new(StagingArchive { nodes_max: options.limits.nodes });
        let clock = Arc::new(SteppingClock(AtomicI64::new(1_700_000_000_000_000)));
        let parts = Parts {
            store: Arc::clone(&store) as Arc<dyn cov_store::Store>,
            contents: Arc::clone(&store) as Arc<dyn cov_store::Contents>,
            executors,
            reports,
            sublattices,
            clock,
        };
        let (handle, service) = cov_dispatcher::start(like(&options.limits), parts).await.unwrap();
        let (quit, quitting) = oneshot::channel::<()>();
        let limits = options.limits.clone();
        let host = cov_dispatcher::LocalHost::new(handle.clone(), Arc::clone(&store) as _);
        let registry = cov_triggers::Registry::builtin();
        let started = cov_triggers::Service::start(Arc::new(host), registry).await;
        let (triggers, trigger_service) = started.unwrap();
        let triggers = cov_http::Triggers { service: triggers, store };
        let router = cov_http::router(handle, Some(triggers), options);
        let serving = tokio::spawn(async move {
            let quitting = async { quitting.await.unwrap_or(()) };
            cov_http::serve(listener, router, &limits, quitting).await;
        });
        Self {
            address,
            tasks,
            store_faults,
            service,
            trigger_service,
            serving,
            quit,
            _folder: folder,
        }
    }

    /// Refuses new work and answers what is held.
    pub(crate) fn close(&self) {
        self.service.close();
    }

    pub(crate) async fn stop(self) {
        let _stopped_already = self.quit.send(()).is_err();
        self.serving.await.unwrap();
        self.trigger_service.stop().await;
        self.service.stop(std::time::Duration::ZERO).await;
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Answer {
        ask.send(self.address).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Ask::new("GET", path)).await
    }

    /// Registers a manifest and uploads what the answer asks for, empty where `bytes` has none.
    pub(crate) async fn register(&self, manifest: &Value) -> String {
        let answer = self.ask(Ask::new("POST", "/api/v2/dispatches").json(manifest)).await;
        assert_eq!(answer.status, 201, "{:?}", String::from_utf8_lossy(&answer.body));
        answer.json()["metadata"]["dispatch_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn start_dispatch(&self, dispatch: &str) -> Answer {
        let path = format!("/api/v2/dispatches/{dispatch}/status");
        self.ask(Ask::new("PUT", &path).body(r#"{"status": "RUNNING"}"#)).await
    }

    /// How many dispatches are stored.
    pub(crate) async fn stored(&self) -> u64 {
        self.get("/api/v3/dispatches").await.json()["total"].as_u64().unwrap()
    }
}

/// The dispatcher's options under the limits of the HTTP side.
fn like(limits: &cov_http::Limits) -> cov_dispatcher::Options {
    cov_dispatcher::Options {
        nodes_max: limits.nodes,
        upload_bytes_max: limits.upload_bytes,
        ..cov_dispatcher::Options::default()
    }
}

/// A program that starts `python` with an SDK that nobody has configured but the recordings:
/// tasks that build sub-workflows read the SDK's configuration.
fn undisturbed(python: &Path, folder: &Path) -> PathBuf {
    let home = folder.join("home");
    std::fs::create_dir(&home).unwrap();
    let program = folder.join("python");
    let (home, python) = (home.display(), python.display());
    let script = format!(
        "#!/bin/sh\nexport HOME='{home}' COVALENT_DISABLE_DASK=1\nunset COVALENT_CONFIG_DIR\nexec '{python}' \"$@\"\n"
    );
    std::fs::write(&program, script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&program, executable).unwrap();
    program
}

/// The Python that tests run tasks with.
pub(crate) fn python() -> PathBuf {
    let named = std::env::var_os("COV_TEST_PYTHON");
    named
        .expect(
            "COV_TEST_PYTHON names an interpreter with the SDK: `cargo xtask sdk-venv` makes one",
        )
        .into()
}
