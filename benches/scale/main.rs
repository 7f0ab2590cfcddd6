//! What size costs: workflows of up to 1,000,000 nodes, data directories with 1,000,000 stored
//! dispatches, and a server that has nothing to do. Every figure is of the server as a process of
//! its own, over HTTP. Prints tables.
//!
//! ```text
//! scale nodes [1000 10000 …]     register, start and run a fan of so many nodes
//! scale dispatches [1000000]     fill a data directory, then list, show, count and purge
//! scale idle                     what a server costs that nobody asks for anything
//! ```
//!
//! `COV_SERVER_BIN` names the server; otherwise it is the one beside this program. `TMPDIR` says
//! which disk is used.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement: it reads the clock, prints, and ends at the first fault"
)]

mod dispatches;
mod fill;
mod idle;
mod nodes;
mod server;

fn main() {
    cov::runner::init();
    // Cargo adds an option of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    let sizes: Vec<u32> =
        arguments.iter().skip(1).map(|size| size.replace('_', "").parse().unwrap()).collect();
    match arguments.first().map_or("", String::as_str) {
        "nodes" => nodes::measure(or(sizes, &[1_000, 10_000, 100_000, 1_000_000])),
        "dispatches" => dispatches::measure(or(sizes, &[1_000_000])[0]),
        "idle" => idle::measure(),
        _ => println!("scale nodes [N…] | scale dispatches [N] | scale idle"),
    }
}

fn or(sizes: Vec<u32>, default: &[u32]) -> Vec<u32> {
    if sizes.is_empty() { default.to_vec() } else { sizes }
}
