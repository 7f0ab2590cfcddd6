//! A collection of nodes of another type than the electron takes. Must not compile.

use cov::{Node, electron, lattice};

#[electron]
fn total(numbers: Vec<i64>) -> i64 {
    numbers.into_iter().sum()
}

#[electron]
fn half(x: f64) -> f64 {
    x / 2.0
}

#[lattice]
fn wrong() -> Node<i64> {
    total::node(half::map([1.0, 2.0]))
}

fn main() {}
