//! Looks for the step size with which a search for a minimum ends soonest. How many candidates
//! there are is known only when the first electron has run, so that the fan is dynamic.

#![expect(clippy::print_stdout, reason = "it is a program for a terminal")]

use cov::{Client, Node, blocking, electron, lattice};
use serde::{Deserialize, Serialize};

/// How one step size did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Trial {
    step: f64,
    /// How many steps it took; none if it never arrived.
    steps: Option<u32>,
}

/// Ever finer step sizes between the bounds.
#[electron]
fn candidates(low: f64, high: f64) -> Vec<f64> {
    std::iter::successors(Some(low), |step| Some(step * 1.25))
        .take_while(|step| *step <= high)
        .collect()
}

/// Walks down `x² + 3x` from `start`.
#[electron(time_limit = "1m")]
fn search(step: f64, start: f64) -> Trial {
    let mut x = start;
    let steps = (0..1_000).find(|_| {
        x -= step * (2.0 * x + 3.0);
        (x + 1.5).abs() < 1e-9
    });
    Trial { step, steps }
}

#[electron]
fn best(trials: Vec<Trial>) -> Result<Trial, String> {
    let arrived = trials.into_iter().filter(|trial| trial.steps.is_some());
    arrived.min_by_key(|trial| trial.steps).ok_or_else(|| "no step size arrives".to_owned())
}

#[lattice(name = "parameter sweep")]
fn sweep(low: f64, high: f64, start: f64) -> Node<Trial> {
    let steps = candidates::node(low, high).label("step sizes");
    best::node(search::each(steps, start))
}

fn main() -> Result<(), cov::Error> {
    cov::runner::init();
    let lattice = sweep::build(0.001, 2.0, 40.0)?;
    match std::env::var("COV_ADDRESS") {
        Ok(address) => {
            let client = blocking::Client::new(Client::builder(address))?;
            println!("{:?}", lattice.run(&client)?);
        }
        Err(_) => println!("{lattice:?}; COV_ADDRESS names no server that runs it"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_step_is_found() {
        let trials = candidates(0.1, 2.0).into_iter().map(|step| search(step, 40.0)).collect();
        let best = best(trials).unwrap();
        assert!((0.4..0.6).contains(&best.step), "{best:?}");
        assert!(super::best(vec![]).is_err());
    }
}
