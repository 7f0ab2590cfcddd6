//! A program that a server is tried with: it holds electrons, and started with the address of a
//! server it dispatches some of them to it, and prints what comes back.

#![expect(clippy::print_stdout, reason = "printing the result is what it is for")]

mod electrons;

use cov::blocking::Client;
use cov::{Lattice, Node, lattice};

/// The sum of as many numbers as an electron has counted.
#[lattice]
fn sum_of_doubles(count: i64) -> Node<i64> {
    let numbers = electrons::doubles::node(electrons::add::node(count, 0));
    electrons::total::node(numbers)
}

fn main() -> Result<(), cov::Error> {
    cov::runner::init();
    let Some(server) = std::env::args().nth(1) else { return Ok(()) };
    let client = Client::new(cov::Client::builder(server))?;
    let lattice: Lattice<i64> = sum_of_doubles::build(10)?;
    println!("{}", lattice.run(&client)?);
    Ok(())
}
