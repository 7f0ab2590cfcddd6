//! Functions that cannot be electrons or lattices. Must not compile.

use cov::{electron, lattice};

#[electron]
fn generic<T>(x: T) -> T {
    x
}

#[electron]
fn borrowed(text: &str) -> usize {
    text.len()
}

#[electron]
fn pattern((a, b): (i64, i64)) -> i64 {
    a + b
}

#[electron]
fn any(x: impl Into<String>) -> String {
    x.into()
}

#[electron]
unsafe fn dangerous() {}

#[lattice]
async fn later() {}

#[electron]
struct NoFunction;

fn main() {}
