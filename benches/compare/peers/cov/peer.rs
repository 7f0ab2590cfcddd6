//! This server with its native client: `rust`, electrons of this program; `python`, functions of
//! `work.py` by their names. Speaks the line protocol of `cargo xtask compare`.
//!
//! A measurement: it must not do anything that a program of a user would not do.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement: it reads the clock, prints, and a fault ends it"
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cov::core::transportable::Encoding;
use cov::graph::Call;
use cov::{Client, Lattice, Node, electron};
use cov_client::Redispatch;
use serde_json::{Value, json};

/// Clients of the shape `parallel`.
const CLIENTS: usize = 4;

#[electron]
fn nothing(number: u64) -> u64 {
    number
}

#[electron]
fn increment(number: u64) -> u64 {
    number + 1
}

#[electron]
fn total(numbers: Vec<u64>) -> u64 {
    numbers.into_iter().sum()
}

#[electron]
fn same(content: Vec<u8>) -> Vec<u8> {
    content
}

/// What the electrons are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Rust,
    Python,
}

impl Language {
    fn python(name: &str) -> Call {
        let work = Path::new(env!("CARGO_MANIFEST_DIR")).join("compare");
        Call::python(format!("work:{name}")).path(work.to_string_lossy())
    }

    fn increment(self, number: u64) -> Node<u64> {
        match self {
            Self::Rust => increment::node(number),
            Self::Python => Self::python("increment").arg::<u64>(number).node(),
        }
    }

    fn next(self, last: Node<u64>) -> Node<u64> {
        match self {
            Self::Rust => increment::node(last),
            Self::Python => Self::python("increment").arg::<u64>(last).node(),
        }
    }

    fn single(self, number: u64) -> Lattice<u64> {
        cov::graph::build("single", || self.increment(number)).unwrap()
    }

    fn chain(self, n: u64) -> Lattice<u64> {
        let steps = || (1..n).fold(self.increment(0), |last, _| self.next(last));
        cov::graph::build("chain", steps).unwrap()
    }

    fn fan(self, n: u64) -> Lattice<u64> {
        let lattice = match self {
            Self::Rust => cov::graph::build("fan", || total::node(nothing::map(0..n))),
            Self::Python => cov::graph::build("fan", || {
                let each = |number| Self::python("nothing").arg::<u64>(number).node::<u64>();
                let all: Vec<Node<u64>> = (0..n).map(each).collect();
                Self::python("total").arg::<Vec<u64>>(all).node()
            }),
        };
        lattice.unwrap()
    }

    fn same(self, content: &[u8]) -> Lattice<Vec<u8>> {
        let content = content.to_vec();
        let lattice = match self {
            Self::Rust => cov::graph::build("same", || same::node(content)),
            Self::Python => cov::graph::build("same", || {
                let call = Self::python("same").arg::<Vec<u8>>(cov::array(content));
                call.output(Encoding::Array).node::<Vec<u8>>()
            }),
        };
        lattice.unwrap()
    }
}

/// The server as a child, and where it is.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(language: Language, python: &str, data: &Path) -> Self {
        let release = PathBuf::from(std::env::var_os("COMPARE_RELEASE").unwrap());
        let python = if language == Language::Rust { "/no/python" } else { python };
        let mut child = Command::new(release.join("cov-server"))
            .args(["--listen", "127.0.0.1:0", "--python", python, "--log-level", "error"])
            .args(["--workers", &std::env::var("COMPARE_WORKERS").unwrap()])
            .arg("--data-dir")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("cov-server ready at ").unwrap().to_owned();
        Self { child, address }
    }

    fn client(&self) -> Client {
        Client::builder(&self.address).build().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().ok();
        self.child.wait().ok();
    }
}

/// What this program is between two requests.
struct Peer {
    language: Language,
    python: String,
    server: Option<Server>,
    runtime: tokio::runtime::Runtime,
}

fn main() {
    cov::runner::init();
    let mut arguments = std::env::args().skip(1);
    let language = match arguments.next().as_deref() {
        Some("rust") => Language::Rust,
        Some("python") => Language::Python,
        other => panic!("rust or python, not {other:?}"),
    };
    let python = arguments.next().unwrap_or_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut peer = Peer { language, python, server: None, runtime };
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let kind = request["do"].as_str().unwrap();
        let answer = match kind {
            "start" => peer.start(),
            "run" => peer.run(request["shape"].as_str().unwrap(), request["n"].as_u64().unwrap()),
            _ => {
                peer.server = None;
                json!({})
            }
        };
        println!("{answer}");
        if kind == "stop" {
            break;
        }
    }
}

impl Peer {
    fn start(&mut self) -> Value {
        let data = PathBuf::from(std::env::var_os("COMPARE_DATA").unwrap()).join("server");
        let begin = Instant::now();
        let server = Server::start(self.language, &self.python, &data);
        let health = self.runtime.block_on(server.client().health()).unwrap();
        let seconds = begin.elapsed().as_secs_f64();
        let id = server.child.id();
        self.server = Some(server);
        let settings = match self.language {
            Language::Rust => "as it comes; no Python, so that only Rust runs",
            Language::Python => "as it comes",
        };
        json!({"seconds": seconds, "pids": [id], "data": data, "settings": settings,
            "versions": {"cov-server": health.version}})
    }

    fn run(&self, shape: &str, n: u64) -> Value {
        let language = self.language;
        let client = self.server.as_ref().expect("started").client();
        match shape {
            "single" => self.single(&client, n),
            "chain" => self.timed(&client, || language.chain(n), n),
            "fan" => self.timed(&client, || language.fan(n), n * (n - 1) / 2),
            "parallel" => self.parallel(n),
            "redispatch" => self.redispatch(&client, n),
            "accept" => self.accept(n, 1),
            "accept64" => self.accept(n, 64),
            "big" => self.big(&client, n),
            other => json!({"error": format!("no shape {other}")}),
        }
    }

    /// From before the graph is built until the result is here.
    fn timed(&self, client: &Client, build: impl Fn() -> Lattice<u64>, expected: u64) -> Value {
        let begin = Instant::now();
        let result = self.runtime.block_on(build().dispatch_sync(client)).unwrap();
        let seconds = begin.elapsed().as_secs_f64();
        assert_eq!(result, expected);
        json!({ "seconds": seconds })
    }

    fn single(&self, client: &Client, n: u64) -> Value {
        let begin = Instant::now();
        let one = |number| {
            let begin = Instant::now();
            let lattice = self.language.single(number);
            let result = self.runtime.block_on(lattice.dispatch_sync(client)).unwrap();
            let seconds = begin.elapsed().as_secs_f64();
            assert_eq!(result, number + 1);
            seconds
        };
        let samples: Vec<f64> = (0..n).map(one).collect();
        json!({"seconds": begin.elapsed().as_secs_f64(), "samples": samples})
    }

    fn parallel(&self, n: u64) -> Value {
        let server = self.server.as_ref().expect("started");
        let language = self.language;
        let begin = Instant::now();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|start| {
                let client = server.client();
                self.runtime.spawn(async move {
                    for number in (start as u64..n).step_by(CLIENTS) {
                        let result = language.single(number).dispatch_sync(&client).await.unwrap();
                        assert_eq!(result, number + 1);
                    }
                })
            })
            .collect();
        for one in clients {
            self.runtime.block_on(one).unwrap();
        }
        json!({"seconds": begin.elapsed().as_secs_f64()})
    }

    fn redispatch(&self, client: &Client, n: u64) -> Value {
        let again = Redispatch { reuse: true, ..Redispatch::default() };
        self.runtime.block_on(async {
            let first = self.language.fan(n).dispatch(client).await.unwrap();
            assert_eq!(first.result().await.unwrap(), n * (n - 1) / 2);
            let begin = Instant::now();
            let accepted = client.redispatch(first.id(), &again).await.unwrap();
            let second = cov::Dispatched::<u64>::new(client.clone(), accepted.dispatch_id);
            let result = second.result().await.unwrap();
            let seconds = begin.elapsed().as_secs_f64();
            assert_eq!(result, n * (n - 1) / 2);
            json!({ "seconds": seconds })
        })
    }

    /// Registered and durable, not started: what runs would take its share of the machine.
    fn accept(&self, n: u64, connections: u64) -> Value {
        let server = self.server.as_ref().expect("started");
        let own = |number| self.language.single(number).into_workflow().unwrap();
        let works: Vec<Vec<_>> = (0..connections)
            .map(|first| {
                let numbers = (first..n).step_by(usize::try_from(connections).unwrap());
                numbers.map(own).collect()
            })
            .collect();
        // A server that has not seen this program gets it with the first one.
        self.runtime.block_on(server.client().register(&own(n))).unwrap();
        let clients: Vec<Client> = works.iter().map(|_| server.client()).collect();
        for client in &clients {
            self.runtime.block_on(client.health()).unwrap();
        }
        let begin = Instant::now();
        let tasks: Vec<_> = works
            .into_iter()
            .zip(clients)
            .map(|(works, client)| {
                self.runtime.spawn(async move {
                    for work in works {
                        client.register(&work).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            self.runtime.block_on(task).unwrap();
        }
        json!({"seconds": begin.elapsed().as_secs_f64()})
    }

    fn big(&self, client: &Client, n: u64) -> Value {
        let content = never_seen(usize::try_from(n).unwrap() * 1_000_000);
        let begin = Instant::now();
        let lattice = self.language.same(&content);
        let returned = self.runtime.block_on(lattice.dispatch_sync(client)).unwrap();
        let seconds = begin.elapsed().as_secs_f64();
        assert!(returned == content, "other bytes came back");
        json!({ "seconds": seconds })
    }
}

/// Random bytes, so that no content is known to a server.
fn never_seen(length: usize) -> Vec<u8> {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
    let mut state = (u64::from(since.subsec_nanos()) << 32 ^ since.as_secs()) | 1;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
