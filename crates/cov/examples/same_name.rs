//! A program that no server can use: two of its electrons have the same name.

use cov::electron;

#[electron(name = "twin")]
fn first() {}

#[electron(name = "twin")]
fn second() {}

fn main() {
    cov::runner::init();
    first();
    second();
}
