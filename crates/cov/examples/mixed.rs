//! Rust measures, Python smooths and describes, Rust reports. The Python functions are plain ones
//! in `python/steps.py`, called by name; nothing is pickled.
//!
//! ```text
//! COV_ADDRESS=http://127.0.0.1:48008 cargo run --example mixed
//! ```

#![expect(clippy::print_stdout, reason = "it is a program for a terminal")]

use cov::core::transportable::Encoding;
use cov::graph::Call;
use cov::{Client, Node, blocking, electron, lattice};
use serde::{Deserialize, Serialize};

/// What `steps.describe` returns: its dictionary has these keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Description {
    count: usize,
    mean: f64,
    low: f64,
    high: f64,
}

/// Numbers that go to NumPy travel as an array: their bytes, and a line that says what they are.
#[electron(output = "array")]
fn measure(count: u32) -> Vec<f64> {
    (0..count).map(|second| f64::from(second % 4)).collect()
}

#[electron]
fn report(raw: Vec<f64>, smoothed: Vec<f64>, description: Description) -> String {
    let Description { count, mean, low, high } = description;
    let change = raw.iter().zip(&smoothed).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    format!("{count} values around {mean:.2}, from {low:.2} to {high:.2}; changed by {change:.2}")
}

/// A call of a function in `python/steps.py`. Servers elsewhere would have the module installed.
fn step(name: &str) -> Call {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python");
    Call::python(format!("steps:{name}")).path(folder)
}

#[lattice]
fn mixed(count: u32) -> Node<String> {
    let raw = measure::node(count);
    let smooth = step("smooth").arg::<Vec<f64>>(raw).kwarg::<u32>("width", 2);
    let smoothed: Node<Vec<f64>> = smooth.output(Encoding::Array).node();
    let description: Node<Description> = step("describe").arg::<Vec<f64>>(smoothed).node();
    report::node(raw, smoothed, description)
}

fn main() -> Result<(), cov::Error> {
    cov::runner::init();
    let lattice = mixed::build(100)?;
    match std::env::var("COV_ADDRESS") {
        Ok(address) => {
            let client = blocking::Client::new(Client::builder(address))?;
            println!("{}", lattice.run(&client)?);
        }
        Err(_) => println!("{lattice:?}; COV_ADDRESS names no server that runs it"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn electrons_are_functions() {
        let description = Description { count: 2, mean: 0.5, low: 0.0, high: 1.0 };
        let said = report(measure(2), vec![0.0, 0.75], description);
        assert_eq!(said, "2 values around 0.50, from 0.00 to 1.00; changed by 0.25");
    }

    #[test]
    fn the_graph_has_two_electrons_of_each_language() {
        assert_eq!(mixed::build(3).unwrap().electrons(), 4);
    }
}
