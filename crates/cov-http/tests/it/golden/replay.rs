//! Says again what was said, in its order.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::compare::{Difference, compare, without_addresses};
use super::recording::{self, Body, Exchange, Places, dispatches_in};
use crate::client::{Answer, Ask};
use crate::manifests::asset;
use crate::server::TestServer;

const TERMINAL: &[&str] = &["COMPLETED", "FAILED", "CANCELLED"];
/// How long a recorded workflow may take here.
const END_WAIT: Duration = Duration::from_secs(120);

struct Replay<'a> {
    server: &'a TestServer,
    /// Placeholders of the recording; dispatches stand for those that were registered here.
    places: Places,
    /// Sub-dispatches of the recording, and what our own pool has built in their place.
    built: HashMap<String, String>,
    started: Vec<String>,
    /// The requests that cancel.
    cancels: Vec<Exchange>,
    /// Sub-dispatches that a recorded task has registered itself.
    linked: Vec<String>,
    /// The bytes that the recording uploads, by path.
    uploads: HashMap<String, Vec<u8>>,
    found: Vec<Difference>,
}

/// Replays a folder and tells what differs.
pub(super) async fn replay(server: &TestServer, folder: &str) -> Vec<Difference> {
    let exchanges = recording::read(folder);
    let files = tempfile::tempdir().unwrap();
    let mut places = Places::default();
    places.set("SERVER", &format!("http://{}", server.address));
    places.set("SERVER_HOST", &server.address.to_string());
    for name in ["HOME", "VENV", "TMP", "WORK"] {
        places.set(name, &files.path().join(name).to_string_lossy());
    }
    prepare(folder);
    let mut replay = Replay {
        server,
        uploads: uploads_of(&exchanges, &places),
        places,
        built: HashMap::new(),
        started: Vec::new(),
        cancels: exchanges
            .iter()
            .filter(|exchange| asks_for(exchange, "CANCELLED"))
            .cloned()
            .collect(),
        linked: linked_in(&exchanges),
        found: Vec::new(),
    };
    for exchange in &exchanges {
        replay.exchange(exchange).await;
    }
    replay.found
}

/// The recorded scripts prepare files, whose full names are in the recorded callables.
fn prepare(folder: &str) {
    match folder {
        "11_files" => std::fs::write("/tmp/cov-golden-src.txt", "original\n").unwrap(),
        "12_wait_for" => std::fs::write("/tmp/cov-golden-wait.txt", "").unwrap(),
        "20_trigger_dir" => std::fs::create_dir_all("/tmp/cov-golden-dir-ijkv_k5x").unwrap(),
        _ => {}
    }
}

fn linked_in(exchanges: &[Exchange]) -> Vec<String> {
    let links = exchanges.iter().filter(|exchange| exchange.method == "PATCH");
    let bodies = links.filter_map(|exchange| exchange.body.as_ref());
    bodies.flat_map(|body| dispatches_in(&String::from_utf8_lossy(&body.to_bytes()))).collect()
}

/// Whether a request sets the status of a dispatch to this one.
fn asks_for(exchange: &Exchange, status: &str) -> bool {
    let body = exchange.body.as_ref();
    exchange.path.ends_with("/status")
        && matches!(body, Some(Body::Json(body)) if body["status"] == status)
}

/// What the recording calls the dispatch that a request has registered.
fn registered_name(exchange: &Exchange) -> Option<String> {
    let Some(Body::Json(answer)) = &exchange.answer else { return None };
    let id = answer["metadata"]["dispatch_id"].as_str()?;
    dispatches_in(id).into_iter().next()
}

fn registers(exchange: &Exchange) -> bool {
    let path = exchange.path.as_str();
    let is_route = path == "/api/v2/dispatches" || path.ends_with("/redispatches");
    exchange.method == "POST" && is_route
}

/// The first upload under each path is the client's; its bytes are those that were announced.
fn uploads_of(exchanges: &[Exchange], places: &Places) -> HashMap<String, Vec<u8>> {
    let mut uploads = HashMap::new();
    for exchange in exchanges.iter().filter(|exchange| exchange.method == "PUT") {
        if let (Some(path), Some(body)) =
            (exchange.path.strip_prefix("/api/v0/files/"), &exchange.body)
        {
            let bytes = places.fill_body(body).to_bytes();
            uploads.entry(path.to_owned()).or_insert(bytes);
        }
    }
    uploads
}

impl Replay<'_> {
    async fn exchange(&mut self, exchange: &Exchange) {
        self.meet(exchange).await;
        let answer = self.say(exchange).await;
        if registers(exchange) && answer.status == 201 {
            self.name_registered(exchange, &answer);
        }
        if asks_for(exchange, "RUNNING") && answer.status == 202 {
            let dispatch = answer.json().as_str().unwrap().to_owned();
            self.cancel_on_the_way(exchange, &dispatch).await;
            self.wait_for_end(&dispatch).await;
            self.started.push(dispatch);
        }
        let places = self.places_for(exchange);
        self.judge(exchange, &places, &answer);
    }

    async fn say(&self, exchange: &Exchange) -> Answer {
        let places = self.places_for(exchange);
        let registers = registers(exchange);
        let body = exchange.body.as_ref().map(|body| match (registers, body) {
            (true, Body::Json(manifest)) => Body::Json(self.reannounced(exchange, manifest)),
            _ => places.fill_body(body),
        });
        let ask = Ask {
            method: exchange.method.clone(),
            path: path_and_query(&places.fill(&exchange.path), &places.fill(&exchange.query)),
            headers: exchange.headers.clone(),
            body: body.map(|body| body.to_bytes()).unwrap_or_default(),
        };
        self.server.ask(ask).await
    }

    /// A recorded cancel comes while a task runs: it is said at that moment, and again in its turn.
    async fn cancel_on_the_way(&self, start: &Exchange, dispatch: &str) {
        let follows = |cancel: &&Exchange| cancel.index > start.index && cancel.path == start.path;
        let Some(cancel) = self.cancels.iter().find(follows) else { return };
        let running = tokio::time::timeout(END_WAIT, async { while !self.runs(dispatch).await {} });
        running.await.unwrap();
        assert_eq!(self.say(cancel).await.status, 202);
    }

    /// Whether a task of the dispatch runs, or of the dispatch that one of its nodes is.
    async fn runs(&self, dispatch: &str) -> bool {
        let mut export = self.export(dispatch).await;
        let first = &export["lattice"]["transport_graph"]["nodes"][0]["metadata"];
        if first["name"].as_str().unwrap().starts_with(":sublattice:") {
            let Some(sub) = first["sub_dispatch_id"].as_str().map(str::to_owned) else {
                return false;
            };
            export = self.export(&sub).await;
        }
        let nodes = export["lattice"]["transport_graph"]["nodes"].as_array().unwrap();
        nodes.iter().any(|node| node["metadata"]["status"] == "RUNNING")
    }

    /// The manifest with the sizes and digests of what will be uploaded: filled placeholders
    /// change both.
    fn reannounced(&self, exchange: &Exchange, manifest: &Value) -> Value {
        let Body::Json(mut manifest) = self.places.fill_body(&Body::Json(manifest.clone())) else {
            unreachable!("a JSON body stays one")
        };
        let Some(dispatch) = registered_name(exchange) else { return manifest };
        let lattice = &mut manifest["lattice"];
        let announce = |assets: &mut Value, folder: &str| {
            for (key, value) in assets.as_object_mut().unwrap() {
                let Some(file) = file_of(key).filter(|_| value["size"] != 0) else { continue };
                let path = format!("{{{{{dispatch}}}}}/{folder}{file}");
                if let Some(bytes) = self.uploads.get(&path) {
                    *value = asset(bytes);
                }
            }
        };
        announce(&mut lattice["assets"], "");
        for node in lattice["transport_graph"]["nodes"].as_array_mut().unwrap() {
            let folder = format!("node_{}/", node["id"]);
            announce(&mut node["assets"], &folder);
        }
        manifest
    }

    fn name_registered(&mut self, exchange: &Exchange, answer: &Answer) {
        let id = answer.json()["metadata"]["dispatch_id"].as_str().unwrap().to_owned();
        if let Some(name) = registered_name(exchange) {
            self.places.set(&name, &id);
        }
    }

    /// A sub-dispatch of the recording was built by a task. Ours was built by our own pool, and
    /// is met in the export of its parent.
    async fn meet(&mut self, exchange: &Exchange) {
        let uploads = exchange.method == "PUT" && exchange.path.starts_with("/api/v0/files/");
        let links = exchange.method == "PATCH";
        let answer = match exchange.method.as_str() {
            "GET" => exchange.answer.as_ref().map(Body::to_bytes).unwrap_or_default(),
            _ => Vec::new(),
        };
        let answer = String::from_utf8_lossy(&answer);
        let text = format!("{} {} {answer}", exchange.path, exchange.query);
        for name in dispatches_in(&text) {
            let registered_by_client = self.places.has(&name) && !self.linked.contains(&name);
            if registered_by_client || uploads || links || self.built.contains_key(&name) {
                continue;
            }
            for parent in self.started.clone() {
                let export = self.export(&parent).await;
                let nodes = export["lattice"]["transport_graph"]["nodes"].as_array().unwrap();
                if let Some(sub) = nodes.iter().find_map(|node| {
                    node["metadata"]["sub_dispatch_id"].as_str().map(str::to_owned)
                }) {
                    self.built.insert(name.clone(), sub);
                }
            }
        }
    }

    fn places_for(&self, exchange: &Exchange) -> Places {
        let mut places = self.places.clone();
        let uploads = exchange.method == "PUT" && exchange.path.starts_with("/api/v0/files/");
        let registers = registers(exchange);
        if !uploads && !registers && exchange.method != "PATCH" {
            for (name, built) in &self.built {
                places.set(name, built);
            }
        }
        places
    }

    async fn export(&self, dispatch: &str) -> Value {
        self.server.get(&format!("/api/v2/dispatches/{dispatch}")).await.json()
    }

    async fn wait_for_end(&self, dispatch: &str) {
        let path = format!("/api/v2/dispatches?dispatch_id={dispatch}&status_only=True");
        let ended = async {
            loop {
                let answer = self.server.get(&path).await.json();
                let status = answer["dispatches"][0]["status"].as_str().unwrap().to_owned();
                if TERMINAL.contains(&status.as_str()) {
                    return;
                }
            }
        };
        let ended = tokio::time::timeout(END_WAIT, ended).await;
        if ended.is_err() {
            let export = self.export(dispatch).await;
            panic!("dispatch {dispatch} does not end: {export}");
        }
    }

    fn judge(&mut self, exchange: &Exchange, places: &Places, answer: &Answer) {
        let route = route_of(exchange);
        let mut found = Vec::new();
        if answer.status != exchange.status {
            let (then, now) = (exchange.status.to_string(), answer.status.to_string());
            found.push(("status".to_owned(), then, now));
        } else {
            let started = self.started.iter().any(|id| {
                places.fill(&format!("{} {}", exchange.path, exchange.query)).contains(id.as_str())
            });
            judge_body(exchange, places, started, answer, &mut found);
        }
        self.found.extend(found.into_iter().map(|(place, recorded, answered)| Difference {
            exchange: exchange.index,
            place: format!("{route} {place}"),
            recorded,
            answered,
        }));
    }
}

fn judge_body(
    exchange: &Exchange,
    places: &Places,
    started: bool,
    answer: &Answer,
    found: &mut Vec<(String, String, String)>,
) {
    let Some(recorded) = &exchange.answer else { return };
    match places.fill_body(recorded) {
        Body::Json(recorded) => {
            let mut answered = answer.json();
            mask_passing_states(&recorded, started, &mut answered);
            compare("", &recorded, &answered, found);
        }
        Body::Text(text) => {
            let answered = String::from_utf8_lossy(&answer.body);
            if text.starts_with("Traceback") && answered.starts_with("Traceback") {
                judge_traceback(&text, &answered, found);
            } else if text != answered {
                let short = |text: &str| text.chars().take(400).collect::<String>();
                found.push(("text".to_owned(), short(&text), short(&answered)));
            }
        }
        // Pickles are never the same twice, but what they show of themselves is.
        Body::Bytes(bytes) => {
            let (then, now) = (shown(&bytes), shown(&answer.body));
            if then != now {
                found.push(("object".to_owned(), then, now));
            }
        }
    }
}

/// What was raised must be the same; what stands between the task and the server is another.
fn judge_traceback(recorded: &str, answered: &str, found: &mut Vec<(String, String, String)>) {
    let raised = |text: &str| text.trim_end().lines().last().unwrap_or_default().to_owned();
    if raised(recorded) != raised(answered) {
        found.push(("raised".to_owned(), raised(recorded), raised(answered)));
    } else if recorded != answered {
        let frames = |text: &str| text.lines().count().to_string();
        found.push(("frames".to_owned(), frames(recorded), frames(answered)));
    }
}

/// The recording saw a dispatch on its way; ours has ended by then.
fn mask_passing_states(recorded: &Value, started: bool, answered: &mut Value) {
    for pointer in ["/dispatches/0/status", "/metadata/status"] {
        let then = recorded.pointer(pointer).and_then(Value::as_str);
        let passing = then.filter(|status| {
            ["STARTING", "RUNNING"].contains(status) || (started && *status == "NEW_OBJECT")
        });
        if let (Some(passing), Some(now)) = (passing, answered.pointer_mut(pointer)) {
            *now = passing.into();
        }
    }
}

/// The object string of an archive, or the bytes themselves.
fn shown(bytes: &[u8]) -> String {
    let object = cov_core::transportable::TransportableObject::from_archive(bytes);
    match object {
        Ok(object) => without_addresses(&object.object_string).chars().take(200).collect(),
        Err(_no_archive) => String::from_utf8_lossy(bytes).chars().take(200).collect(),
    }
}

fn path_and_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The request without its ids: `GET /api/v2/dispatches/*`.
fn route_of(exchange: &Exchange) -> String {
    let steps = exchange.path.split('/').map(|step| {
        let is_id = step.contains("{{") || step.starts_with("00000000-");
        if is_id || step.parse::<u32>().is_ok() { "*" } else { step }
    });
    format!("{} {}", exchange.method, steps.collect::<Vec<_>>().join("/"))
}

/// The object name of an asset that clients upload.
fn file_of(key: &str) -> Option<&'static str> {
    let name = match key {
        "function" | "workflow_function" => "function.tobj",
        "function_string" | "workflow_function_string" => "function_string.txt",
        "value" => "value.tobj",
        "output" => "results.tobj",
        "hooks" => "hooks.json",
        "doc" => "function_docstring.txt",
        "inputs" => "inputs.tobj",
        _ => return None,
    };
    Some(name)
}
