//! A program whose electrons do what can go wrong. The tests of the runner start it the way a
//! server does; started by hand, it lists its electrons, or says how it is named with `program`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is tested that prints are caught"
)]

use std::io::Read as _;

use cov::{Node, Sublattice, electron, lattice};
use serde::{Deserialize, Serialize};

/// An error with a cause.
#[derive(Debug)]
struct Refused(std::num::ParseIntError);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the text was refused")
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Point {
    x: f64,
    y: f64,
}

#[electron(name = "add")]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[electron(name = "shift")]
fn shift(points: Vec<Point>, by: Option<f64>) -> Vec<Point> {
    let by = by.unwrap_or_default();
    points.into_iter().map(|point| Point { x: point.x + by, y: point.y }).collect()
}

#[electron(name = "parse")]
fn parse(text: String) -> Result<i64, Refused> {
    text.parse().map_err(Refused)
}

#[electron(name = "complain")]
fn complain(text: String) -> Result<(), String> {
    Err(text)
}

#[electron(name = "panics")]
#[expect(clippy::panic, reason = "this is what the electron is for")]
fn panics(text: String) -> i64 {
    println!("about to panic");
    panic!("no way on with {text}")
}

#[electron(name = "aborts")]
fn aborts() {
    println!("last words");
    std::process::abort()
}

#[electron(name = "prints")]
fn prints(lines: u32) {
    for line in 0..lines {
        println!("line {line}");
    }
    eprint!("no newline at the end");
}

#[electron(name = "child_prints")]
fn child_prints() -> Result<(), std::io::Error> {
    std::process::Command::new("sh").args(["-c", "echo from a child"]).status()?;
    Ok(())
}

#[electron(name = "large")]
fn large(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[electron(name = "later")]
async fn later(milliseconds: u64) -> String {
    tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
    "later".to_owned()
}

#[electron(name = "place")]
fn place() -> Result<(String, String, u32, usize), std::io::Error> {
    let folder = std::env::current_dir()?.display().to_string();
    let context = cov::runner::context();
    let (dispatch, node) =
        context.map(|context| (context.dispatch_id, context.node_id.0)).unwrap_or_default();
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    Ok((folder, dispatch, node, input.len()))
}

#[electron(name = "squares")]
fn squares(count: i64) -> Result<Sublattice<Vec<i64>>, cov::Error> {
    Sublattice::build("squares", || (0..count).map(|i| add::node(i, i)).collect::<Vec<_>>())
}

#[lattice]
fn doubled(x: i64) -> Node<i64> {
    add::node(x, x)
}

fn main() {
    cov::runner::init();
    if std::env::args().nth(1).as_deref() == Some("program") {
        match cov::program::Program::current() {
            Ok(program) => println!("{} {}", program.name().digest, program.name().platform),
            Err(error) => eprintln!("{error}"),
        }
        return;
    }
    match cov::electrons() {
        Ok(electrons) => electrons.keys().for_each(|name| println!("{name}")),
        Err(error) => println!("{error}"),
    }
}
