//! The shapes that every peer runs, with their sizes, and the rules of what runs when.
//!
//! Pure: no clock, no process.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest that a peer may take for one run, unless its `seconds_max` says more. Seconds.
pub(super) const SECONDS_MAX: u64 = 120;

/// A run that took longer in an earlier round is not repeated. Seconds.
const REPEATED_MAX: f64 = 45.0;

/// With so many runs that together took so long, there are enough. Seconds.
const ENOUGH_RUNS: usize = 3;
const ENOUGH_SECONDS: f64 = 12.0;

/// Runs of one cell in one round, and the seconds after which there is no further one.
const RUNS_PER_ROUND: usize = 3;
const SECONDS_PER_ROUND: f64 = 4.0;

/// A shape and its size.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) shape: String,
    pub(super) n: u64,
}

impl Cell {
    pub(super) fn new(shape: &str, n: u64) -> Self {
        Self { shape: shape.to_owned(), n }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.shape, self.n)
    }
}

/// All cells, in the order in which a peer runs them: what leaves most memory behind comes last.
pub(super) fn all(is_quick: bool) -> Vec<Cell> {
    let full: &[(&str, u64)] = &[
        ("single", 20),
        ("chain", 50),
        ("fan", 100),
        ("parallel", 100),
        ("redispatch", 100),
        ("accept", 1_000),
        ("accept64", 5_000),
        ("fan", 1_000),
        ("fan", 10_000),
        ("big", 50),
    ];
    let quick: &[(&str, u64)] = &[
        ("single", 3),
        ("chain", 5),
        ("fan", 20),
        ("parallel", 8),
        ("redispatch", 10),
        ("accept", 20),
        ("accept64", 128),
        ("big", 2),
    ];
    let chosen = if is_quick { quick } else { full };
    chosen.iter().map(|(shape, n)| Cell::new(shape, *n)).collect()
}

/// What is known of a cell's earlier runs, of all rounds or of this one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Earlier {
    pub(super) runs: usize,
    pub(super) seconds: f64,
}

/// Whether a cell runs at all in a further round.
pub(super) fn is_repeated(earlier: Earlier, is_once: bool) -> bool {
    let is_enough = earlier.runs >= ENOUGH_RUNS && earlier.seconds >= ENOUGH_SECONDS;
    let is_too_long = earlier.seconds > REPEATED_MAX * count(earlier.runs);
    earlier.runs == 0 || !(is_once || is_enough || is_too_long)
}

/// Whether a cell runs once more in the same round: short ones do, so that their medians are of many.
pub(super) fn once_more(in_this_round: Earlier) -> bool {
    in_this_round.runs < RUNS_PER_ROUND && in_this_round.seconds < SECONDS_PER_ROUND
}

/// Why a larger size is not tried: at the rate of the smaller one it would take too long.
pub(super) fn too_large(smaller: u64, seconds: f64, n: u64, limit: u64) -> Option<String> {
    let expected = seconds * number(n) / number(smaller);
    let is_too_large = expected > number(limit) * 1.25;
    is_too_large.then(|| {
        format!("not within {limit} s: at the rate of {smaller} it would take {expected:.0} s")
    })
}

#[expect(clippy::cast_precision_loss, reason = "sizes and counts are far below 2^52")]
pub(super) fn number(n: u64) -> f64 {
    n as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::{Cell, Earlier, all, is_repeated, once_more, too_large};

    #[test]
    fn long_runs_are_not_repeated() {
        let earlier = |runs, seconds| Earlier { runs, seconds };
        assert!(is_repeated(Earlier::default(), true));
        assert!(is_repeated(earlier(3, 6.0), false));
        assert!(!is_repeated(earlier(3, 6.0), true));
        assert!(is_repeated(earlier(2, 80.0), false));
        assert!(!is_repeated(earlier(3, 13.0), false));
        assert!(!is_repeated(earlier(1, 50.0), false));
    }

    #[test]
    fn short_runs_are_repeated_at_once() {
        let here = |runs, seconds| Earlier { runs, seconds };
        assert!(once_more(here(1, 0.1)) && once_more(here(2, 3.9)));
        assert!(!once_more(here(3, 0.3)) && !once_more(here(1, 4.0)));
    }

    #[test]
    fn a_size_out_of_reach_is_not_tried() {
        assert_eq!(too_large(1_000, 12.0, 10_000, 120), None);
        let why = too_large(1_000, 23.0, 10_000, 120).unwrap();
        assert!(why.contains("230 s"), "{why}");
    }

    #[test]
    fn cells_have_names_of_their_own() {
        for is_quick in [false, true] {
            let mut names: Vec<String> = all(is_quick).iter().map(ToString::to_string).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
        assert_eq!(Cell::new("fan", 1_000).to_string(), "fan1000");
    }
}
