//! Results of another type than the lattice says, and types without a serde form. Must not compile.

use cov::{Node, electron, lattice};

#[electron]
fn half(x: f64) -> f64 {
    x / 2.0
}

#[lattice]
fn wrong() -> Node<i64> {
    half::node(1.0)
}

struct Opaque;

#[lattice]
fn no_nodes() -> Opaque {
    Opaque
}

#[electron]
fn opaque() -> Opaque {
    Opaque
}

#[electron]
fn takes_opaque(_x: Opaque) {}

fn main() {}
