//! Electrons on a cluster: the same functions as everywhere, and one word about where they run.
//! Points are thrown at a square by many tasks on Dask; the server's own machine counts them.
//!
//! ```text
//! COV_ADDRESS=http://127.0.0.1:48008 cargo run --example engines -- tcp://127.0.0.1:8786 100
//! ```

#![expect(clippy::print_stdout, reason = "it is a program for a terminal")]

use cov::{Client, Executor, Node, blocking, electron, lattice};

/// Points that each task throws.
const POINTS: u32 = 100_000;

/// How many of `count` points lie in the circle. The numbers are no good ones, and enough for this.
#[electron(retries = 1, time_limit = "5m")]
fn hits(seed: u32, count: u32) -> u32 {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from(u32::try_from(state >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    };
    let mut hits = 0;
    for _ in 0..count {
        let (x, y) = (next(), next());
        hits += u32::from(x * x + y * y <= 1.0);
    }
    hits
}

#[electron]
fn estimate(hits: Vec<u32>, count: u32) -> f64 {
    let all: f64 = hits.iter().map(|hits| f64::from(*hits)).sum();
    let thrown = f64::from(count) * f64::from(u32::try_from(hits.len()).unwrap_or(u32::MAX));
    4.0 * all / thrown
}

#[lattice]
fn pi(scheduler: String, tasks: u32) -> Node<f64> {
    let cluster = Executor::dask(scheduler);
    let thrown = |seed| hits::node(seed, POINTS).executor(cluster.clone());
    let thrown: Vec<Node<u32>> = (1..=tasks).map(thrown).collect();
    estimate::node(thrown, POINTS)
}

fn main() -> Result<(), cov::Error> {
    cov::runner::init();
    let mut arguments = std::env::args().skip(1);
    let scheduler = arguments.next().unwrap_or_else(|| "tcp://127.0.0.1:8786".to_owned());
    let tasks = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(10);
    let lattice = pi::build(scheduler, tasks)?;
    match std::env::var("COV_ADDRESS") {
        Ok(address) => {
            let client = blocking::Client::new(Client::builder(address))?;
            println!("{:.2}", lattice.run(&client)?);
        }
        Err(_) => println!("{lattice:?}; COV_ADDRESS names no server that runs it"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_near() {
        let hits = (1..=20).map(|seed| hits(seed, POINTS)).collect();
        let error = estimate(hits, POINTS) - std::f64::consts::PI;
        assert!(error.abs() < 0.01, "{error}");
    }
}
