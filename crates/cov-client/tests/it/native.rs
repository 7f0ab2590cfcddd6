//! The client against the real routes of the native API, over a store in memory.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cov_client::{Client, Filter, Kind};
use cov_core::error::ErrorCode;
use cov_core::executor::ExecutorSpec;
use cov_core::graph::NodeKind;
use cov_core::ids::{AttemptId, DispatchId, NodeId};
use cov_core::manifest::{LatticeInfo, Manifest, ManifestNode};
use cov_core::status::Status;
use cov_core::time::{Clock, Timestamp};
use cov_core::transportable::TransportableObject;
use cov_dispatcher::{Handle, Parts, Service};
use cov_exec::{Ending, Error, Executor, Outcome, Payload, Report, Task};
use cov_store::MemoryStore;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

#[derive(Debug)]
struct Epoch;

impl Clock for Epoch {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }
}

/// Takes tasks and never ends them.
#[derive(Debug)]
struct Endless;

#[async_trait]
impl Executor for Endless {
    fn slots(&self) -> usize {
        1
    }

    async fn submit(&self, _task: Task) -> Result<(), Error> {
        Ok(())
    }

    async fn kill(&self, _attempt: AttemptId) {}

    async fn live_output(&self, _attempt: AttemptId) -> Option<(Bytes, Bytes)> {
        None
    }

    async fn stop(&self) {}
}

/// Ends every task at once, with a three.
#[derive(Debug)]
struct Three(mpsc::Sender<Report>);

#[async_trait]
impl Executor for Three {
    fn slots(&self) -> usize {
        4
    }

    async fn submit(&self, task: Task) -> Result<(), Error> {
        let three = TransportableObject::from_json(&3).unwrap().to_archive();
        let ending = Ending {
            outcome: Outcome::Completed(Payload::Bytes(three.into())),
            stdout: Payload::Bytes(Bytes::from_static(b"it is three\n")),
            stderr: Payload::default(),
        };
        for event in [cov_exec::Event::Begun, cov_exec::Event::Ended(ending)] {
            self.0.send(Report { attempt: task.attempt, event }).await.unwrap();
        }
        Ok(())
    }

    async fn kill(&self, _attempt: AttemptId) {}

    async fn live_output(&self, _attempt: AttemptId) -> Option<(Bytes, Bytes)> {
        None
    }

    async fn stop(&self) {}
}

pub(crate) struct Server {
    pub(crate) client: Client,
    handle: Handle,
    service: Service,
    trigger_service: cov_triggers::Service,
    serving: JoinHandle<()>,
    quit: oneshot::Sender<()>,
    _reporter: mpsc::Sender<Report>,
}

impl Server {
    /// A server whose tasks never end.
    pub(crate) async fn start() -> Self {
        Self::with(|_reports| Arc::new(Endless)).await
    }

    /// A server whose tasks end at once, with a three.
    pub(crate) async fn with_threes() -> Self {
        Self::with(|reports| Arc::new(Three(reports))).await
    }

    async fn with(executor: impl FnOnce(mpsc::Sender<Report>) -> Arc<dyn Executor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let store = Arc::new(MemoryStore::new().unwrap());
        let (reporter, reports) = mpsc::channel(64);
        let parts = Parts {
            store: Arc::clone(&store) as Arc<dyn cov_store::Store>,
            contents: Arc::clone(&store) as Arc<dyn cov_store::Contents>,
            executors: executor(reporter.clone()).into(),
            reports,
            sublattices: Arc::new(cov_http::StagingArchive { nodes_max: 10 }),
            clock: Arc::new(Epoch),
        };
        let started = cov_dispatcher::start(cov_dispatcher::Options::default(), parts).await;
        let (handle, service) = started.unwrap();
        let options = cov_http::Options { listen: Some(address), ..cov_http::Options::default() };
        let host = cov_dispatcher::LocalHost::new(handle.clone(), Arc::clone(&store) as _);
        let registry = cov_triggers::Registry::builtin();
        let (triggers, trigger_service) =
            cov_triggers::Service::start(Arc::new(host), registry).await.unwrap();
        let triggers = cov_http::Triggers { service: triggers, store };
        let router = cov_http::router(handle.clone(), Some(triggers), options);
        let (quit, quitting) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let quitting = async { quitting.await.unwrap_or(()) };
            cov_http::serve(listener, router, &cov_http::Limits::default(), quitting).await;
        });
        let client = Client::builder(format!("http://{address}")).build().unwrap();
        Self { client, handle, service, trigger_service, serving, quit, _reporter: reporter }
    }

    pub(crate) async fn register(&self, id: &str) -> DispatchId {
        let node = ManifestNode {
            name: "ta\"sk ✓".into(),
            kind: NodeKind::Task,
            task_group: NodeId(0),
            executor: 0,
            status: Status::NewObject,
        };
        let manifest = Manifest {
            dispatch_id: Some(id.parse().unwrap()),
            lattice: LatticeInfo { name: "flow".into(), ..LatticeInfo::default() },
            executors: vec![ExecutorSpec { name: "local".into(), data: serde_json::json!({}) }],
            nodes: vec![node],
            edges: Vec::new(),
            assets: Vec::new(),
        };
        self.handle.register(manifest).await.unwrap().dispatch
    }

    pub(crate) async fn stop(self) {
        drop((self.client, self.handle));
        self.quit.send(()).unwrap();
        self.serving.await.unwrap();
        self.trigger_service.stop().await;
        self.service.stop(std::time::Duration::ZERO).await;
    }
}

#[tokio::test]
async fn a_server_is_healthy_ready_and_later_not() {
    let server = Server::start().await;
    let health = server.client.health().await.unwrap();
    assert_eq!(health.status, "ok");
    assert_eq!(health.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert!(server.client.ready().await.unwrap());
    server.service.close();
    assert!(!server.client.ready().await.unwrap());
    server.stop().await;
}

#[tokio::test]
async fn a_dispatch_is_found_by_id_and_by_state() {
    let server = Server::start().await;
    let (resting, running) = (server.register("resting").await, server.register("running").await);
    server.handle.start(&running).await.unwrap();

    let dispatch = server.client.get(&resting).await.unwrap();
    assert_eq!(dispatch.summary.status, Status::NewObject);
    assert_eq!(dispatch.lattice.name, "flow");
    let [node] = dispatch.nodes.as_slice() else { panic!("one node: {:?}", dispatch.nodes) };
    assert_eq!((node.name.as_str(), node.kind), ("ta\"sk ✓", NodeKind::Task));
    assert_eq!((node.executor.as_str(), node.status), ("local", Status::NewObject));
    assert_eq!((node.attempt.as_deref(), node.failed_attempts), (None, 0));

    let all = server.client.list(&Filter::default()).await.unwrap();
    assert_eq!((all.total, all.dispatches.len()), (2, 2));
    let first = server.client.list(&Filter { limit: 1, ..Filter::default() }).await.unwrap();
    assert_eq!((first.total, first.dispatches.len()), (2, 1));
    let statuses = vec![Status::Running, Status::Failed];
    let some = server.client.list(&Filter { statuses, ..Filter::default() }).await.unwrap();
    let ids: Vec<_> = some.dispatches.iter().map(|found| &found.dispatch_id).collect();
    assert_eq!((some.total, ids), (1, vec![&running]));
    server.stop().await;
}

#[tokio::test]
async fn refusals_carry_what_the_server_said() {
    let server = Server::start().await;
    let error = server.client.get(&"unknown".parse().unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.tries()), (Kind::NotFound, 1));
    let problem = error.problem().unwrap();
    assert_eq!(problem.code, ErrorCode::DispatchNotFound);
    assert!(problem.request_id.is_some());

    let filter = Filter { limit: u32::MAX, ..Filter::default() };
    let error = server.client.list(&filter).await.unwrap_err();
    assert_eq!((error.kind(), error.tries()), (Kind::Refused, 1));
    assert_eq!(error.problem().unwrap().code, ErrorCode::InvalidParameter);
    server.stop().await;
}

#[tokio::test]
async fn commands_may_be_repeated() {
    let server = Server::start().await;
    let id = server.register("flow").await;
    for _ in 0..2 {
        assert_eq!(server.client.start(&id).await.unwrap().dispatch_id, id);
    }
    let again = cov_client::Redispatch {
        dispatch_id: Some("again".parse().unwrap()),
        start: false,
        ..cov_client::Redispatch::default()
    };
    for _ in 0..2 {
        let made = server.client.redispatch(&id, &again).await.unwrap();
        assert_eq!((made.dispatch_id.as_str(), made.status), ("again", Status::NewObject));
    }
    assert_eq!(server.client.list(&Filter::default()).await.unwrap().total, 2);
    let cancelled = server.client.cancel(&id, &[NodeId(0)]).await.unwrap();
    assert_eq!(cancelled.dispatch_id, id);
    let error = server.client.cancel(&id, &[NodeId(9)]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    server.stop().await;
}
