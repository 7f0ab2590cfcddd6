//! Nodes and values of another type than the electron takes. Must not compile.

use cov::{Node, electron, lattice};

#[electron]
fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[electron]
fn name() -> String {
    String::new()
}

#[lattice]
fn wrong() -> Node<i64> {
    let name = name::node();
    add::node(1, name)
}

#[lattice]
fn value(x: f64) -> Node<i64> {
    add::node(x, 2)
}

fn main() {}
