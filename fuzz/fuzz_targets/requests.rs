//! Any requests to a whole server, with and without login: never a panic, and never a fault of the server for what a
//! client sent. Reaches every parser that stands behind a route: addresses, queries, headers, tokens, signatures,
//! manifests of both APIs, triggers, ranges.

#![no_main]

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Request, Uri};
use bytes::Bytes;
use cov_core::ids::AttemptId;
use cov_core::time::{Clock, Timestamp};
use cov_dispatcher::{Parts, Service};
use cov_exec::{Ending, Error, Event, Executor, Outcome, Payload, Report, Task};
use cov_http::{Access, Login, Options, Rules, StagingArchive, Triggers};
use cov_store::{MemoryStore, SqliteStore};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

const WHOLE: &[u8] = include_bytes!("../seeds/manifest.json");
/// Inputs after which the server is made anew, so that what it keeps stays small.
const INPUTS_MAX: u32 = 2_000;
/// Longest answer that is read. Bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Requests that wait on purpose are not waited for.
const PATIENCE: Duration = Duration::from_millis(20);

/// One path a line, with `{}` for a word.
const ROUTES: &str = include_str!("../seeds/routes.txt");
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
const HEADERS: [&str; 14] = [
    "authorization",
    "content-length",
    "content-type",
    "content-encoding",
    "digest",
    "digest-alg",
    "range",
    "if-none-match",
    "idempotency-key",
    "last-event-id",
    "origin",
    "host",
    "x-forwarded-for",
    "x-hub-signature-256",
];
/// Words that lead further than any other would.
const WORDS: [&str; 12] = [
    "d-1",
    "0",
    "1",
    "output",
    "function",
    "value",
    "result",
    "results.tobj",
    "function.tobj",
    "hooks.json",
    "value.tobj",
    "t-1",
];

#[derive(Debug, Arbitrary)]
enum Word<'a> {
    Known(u8),
    Any(&'a str),
}

#[derive(Debug, Arbitrary)]
struct Edit<'a> {
    at: u16,
    remove: u8,
    insert: &'a [u8],
}

#[derive(Debug, Arbitrary)]
enum Content<'a> {
    Nothing,
    Any(&'a [u8]),
    Manifest(Vec<Edit<'a>>),
    /// As the native API takes it: a length, then the manifest, then contents.
    Framed(u32, Vec<Edit<'a>>, &'a [u8]),
}

#[derive(Debug, Arbitrary)]
struct Ask<'a> {
    route: u8,
    method: u8,
    words: [Word<'a>; 3],
    query: &'a str,
    headers: Vec<(u8, &'a [u8])>,
    content: Content<'a>,
}

/// Takes tasks and never does them.
#[derive(Debug)]
struct Idle(mpsc::Sender<Report>);

#[async_trait]
impl Executor for Idle {
    fn slots(&self) -> usize {
        4
    }

    async fn submit(&self, _: Task) -> Result<(), Error> {
        Ok(())
    }

    async fn kill(&self, attempt: AttemptId) {
        let (stdout, stderr) = (Payload::default(), Payload::default());
        let ending = Ending { outcome: Outcome::Killed, stdout, stderr };
        self.0.send(Report { attempt, event: Event::Ended(ending) }).await.ok();
    }

    async fn live_output(&self, _: AttemptId) -> Option<(Bytes, Bytes)> {
        None
    }

    async fn stop(&self) {}
}

#[derive(Debug)]
struct Now;

impl Clock for Now {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000)
    }
}

struct Server {
    open: Router,
    locked: Router,
    service: Service,
    triggers: cov_triggers::Service,
    inputs: u32,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let store = Arc::new(MemoryStore::new().expect("memory is there"));
        let (reporter, reports) = mpsc::channel(64);
        let parts = Parts {
            store: Arc::clone(&store) as _,
            contents: Arc::clone(&store) as _,
            executors: cov_dispatcher::Executors::new(Arc::new(Idle(reporter))),
            reports,
            sublattices: Arc::new(StagingArchive { nodes_max: 1_000 }),
            clock: Arc::new(Now),
        };
        let options = cov_dispatcher::Options { nodes_max: 1_000, ..Default::default() };
        let (handle, service) = cov_dispatcher::start(options, parts).await.expect("it starts");
        let host = cov_dispatcher::LocalHost::new(handle.clone(), Arc::clone(&store) as _);
        let registry = cov_triggers::Registry::builtin();
        let started = cov_triggers::Service::start(Arc::new(host), registry).await;
        let (running, triggers) = started.expect("triggers start");
        let shown = Triggers { service: running, store };
        let folder = tempfile::tempdir().expect("there is a folder");
        let kept = SqliteStore::open(folder.path()).await.expect("it opens");
        let rules = Rules { login: Login::Always, ..Rules::default() };
        let access = Access::load(Arc::new(kept), Arc::new(Now), rules).await.expect("it loads");
        let locked = Options { access, ..Options::default() };
        Self {
            open: cov_http::router(handle.clone(), Some(shown.clone()), Options::default()),
            locked: cov_http::router(handle, Some(shown), locked),
            service,
            triggers,
            inputs: 0,
            _folder: folder,
        }
    }

    async fn stop(self) {
        self.triggers.stop().await;
        self.service.stop(Duration::ZERO).await;
    }
}

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime is made");
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

fuzz_target!(|input: (bool, Vec<Ask<'_>>)| {
    let (locked, asks) = input;
    RUNTIME.with(|runtime| {
        SERVER.with_borrow_mut(|place| {
            runtime.block_on(async {
                let old = place.take_if(|server| server.inputs >= INPUTS_MAX);
                if let Some(old) = old {
                    old.stop().await;
                }
                if place.is_none() {
                    *place = Some(Server::start().await);
                }
                let server = place.as_mut().expect("it was just made");
                server.inputs += 1;
                let router = if locked { &server.locked } else { &server.open };
                for ask in asks.iter().take(4) {
                    answer(router, ask, locked).await;
                }
            });
        });
    });
});

async fn answer(router: &Router, ask: &Ask<'_>, locked: bool) {
    let Some(request) = request(ask) else { return };
    let shown = format!("{} {}", request.method(), request.uri());
    let answered = tokio::time::timeout(PATIENCE, router.clone().oneshot(request)).await;
    let Ok(Ok(response)) = answered else { return };
    let status = response.status().as_u16();
    assert!(status < 500 || status == 503, "{shown}: {status}");
    let open = ["/healthz", "/readyz", "healthcheck", "/api/v3/openapi.json"];
    let is_open = open.iter().any(|path| shown.contains(path)) || shown.contains("/webhook");
    assert!(!locked || is_open || status >= 400, "{shown}: {status} without a token");
    tokio::time::timeout(PATIENCE, to_bytes(response.into_body(), ANSWER_BYTES_MAX)).await.ok();
}

fn request(ask: &Ask<'_>) -> Option<Request<Body>> {
    let mut words = ask.words.iter().map(|word| match word {
        Word::Known(number) => WORDS[usize::from(*number) % WORDS.len()],
        Word::Any(text) => text,
    });
    let mut path = String::new();
    let routes = ROUTES.lines().count();
    let route = ROUTES.lines().nth(usize::from(ask.route) % routes)?;
    for (number, part) in route.split("{}").enumerate() {
        if number > 0 {
            path.push_str(words.next()?);
        }
        path.push_str(part);
    }
    let uri: Uri = match ask.query {
        "" => path.parse().ok()?,
        query => format!("{path}?{query}").parse().ok()?,
    };
    let method = METHODS[usize::from(ask.method) % METHODS.len()];
    let mut request = Request::builder().method(method).uri(uri).body(Body::from(content(ask))).ok()?;
    let headers = request.headers_mut();
    headers.insert("host", HeaderValue::from_static("localhost"));
    if matches!(ask.content, Content::Framed(..)) {
        let kind = cov_core::manifest::document::MEDIA_TYPE;
        headers.insert("content-type", HeaderValue::from_static(kind));
    }
    for (name, value) in ask.headers.iter().take(8) {
        let name = HeaderName::from_static(HEADERS[usize::from(*name) % HEADERS.len()]);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    Some(request)
}

fn content(ask: &Ask<'_>) -> Vec<u8> {
    match &ask.content {
        Content::Nothing => Vec::new(),
        Content::Any(bytes) => bytes.to_vec(),
        Content::Manifest(edits) => edited(edits),
        Content::Framed(lie, edits, rest) => {
            let manifest = edited(edits);
            let length = (manifest.len() as u32).wrapping_add(*lie);
            [&length.to_le_bytes()[..], &manifest, rest].concat()
        }
    }
}

fn edited(edits: &[Edit<'_>]) -> Vec<u8> {
    let mut manifest = WHOLE.to_vec();
    for Edit { at, remove, insert } in edits {
        let start = usize::from(*at) % (manifest.len() + 1);
        let end = (start + usize::from(*remove)).min(manifest.len());
        manifest.splice(start..end, insert.iter().copied());
    }
    manifest
}
