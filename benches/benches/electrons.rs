//! What Rust electrons cost on a real server, with everything that belongs to it: the client, the
//! connection, the store, the runners. Prints one line each: a single one, from the call to its
//! result; a chain, whose steps sleep; a fan of those that do nothing.
//!
//! `COV_SERVER_BIN` names the server; otherwise it is the one beside this program.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement: it reads the clock, prints, and ends at the first fault"
)]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cov::blocking::Client;
use cov::{Lattice, Node, electron};
use tempfile::TempDir;

const FAN: u32 = 10_000;
const CHAIN: usize = 40;
const STEP: Duration = Duration::from_millis(50);
const SINGLES: usize = 200;

#[electron]
fn nothing(number: u32) -> u32 {
    number
}

#[electron]
fn sleeps(number: u32) -> u32 {
    std::thread::sleep(STEP);
    number
}

struct Server {
    child: Child,
    _folder: TempDir,
    client: Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn main() {
    cov::runner::init();
    let server = start();
    let run = |lattice: Lattice<u32>| lattice.run(&server.client).unwrap();
    let first = Instant::now();
    run(single(0));
    println!("one electron, of a program that the server has not seen: {:?}", first.elapsed());
    let mut times: Vec<Duration> = (0..SINGLES)
        .map(|_| {
            let begin = Instant::now();
            run(single(1));
            begin.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |part: usize| times[SINGLES * part / 100];
    println!("one electron, warm: median {:?}, 99 of 100 within {:?}", at(50), at(99));
    let begin = Instant::now();
    run(chain());
    let over = begin.elapsed().saturating_sub(STEP * u32::try_from(CHAIN).unwrap());
    let each = over / u32::try_from(CHAIN).unwrap();
    println!("a chain of {CHAIN} that sleep {STEP:?} each: {each:?} per step beside that");
    for round in 1..=3 {
        let begin = Instant::now();
        let lattice = cov::graph::build("fan", || nothing::map(0..FAN)).unwrap();
        let numbers: Vec<u32> = lattice.run(&server.client).unwrap();
        assert_eq!(numbers.len(), FAN as usize);
        let rate = f64::from(FAN) / begin.elapsed().as_secs_f64();
        println!("a fan of {FAN}, round {round}: {rate:.0} electrons a second");
    }
}

fn single(number: u32) -> Lattice<u32> {
    cov::graph::build("single", || nothing::node(number)).unwrap()
}

fn chain() -> Lattice<u32> {
    let build = || (1..CHAIN).fold(sleeps::node(7), |last: Node<u32>, _| sleeps::node(last));
    cov::graph::build("chain", build).unwrap()
}

fn start() -> Server {
    let folder = TempDir::new().unwrap();
    let mut child = Command::new(binary())
        .args(["--listen", "127.0.0.1:0", "--python", "/no/python", "--log-level", "error"])
        .arg("--data-dir")
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("cov-server ready at ").unwrap();
    let client = Client::new(cov::Client::builder(address)).unwrap();
    Server { child, _folder: folder, client }
}

fn binary() -> PathBuf {
    let beside = || {
        let own = std::env::current_exe().unwrap();
        own.ancestors().nth(2).unwrap().join("cov-server")
    };
    std::env::var_os("COV_SERVER_BIN").map_or_else(beside, PathBuf::from)
}
