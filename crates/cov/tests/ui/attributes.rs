//! Settings of an attribute that make no sense. Must not compile.

use cov::electron;

#[electron(retry = 2)]
fn misspelt() {}

#[electron(time_limit = "30 parsecs")]
fn unit() {}

#[electron(retries = -1)]
fn negative() {}

#[electron(output = "yaml")]
fn encoding() {}

fn main() {}
