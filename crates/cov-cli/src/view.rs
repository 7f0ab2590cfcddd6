//! What is shown of dispatches: from data to text, and nothing else. Asks no server, knows no clock
//! but that of the screen it is given.

pub(crate) mod access;
pub(crate) mod explain;
pub(crate) mod list;
pub(crate) mod outcome;
pub(crate) mod plan;
pub(crate) mod progress;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod tree;
pub(crate) mod triggers;
pub(crate) mod upkeep;

use cov_core::ids::DispatchId;

/// How much of an id is shown in a terminal.
const ID_CHARS: usize = 8;

/// The begin of an id, as people read it.
pub(crate) fn short(id: &DispatchId) -> String {
    id.as_str().chars().take(ID_CHARS).collect()
}

/// How many characters the ids of a list need to be told apart, at least as many as usual.
fn id_chars<'a>(ids: impl Iterator<Item = &'a DispatchId>) -> usize {
    let mut ids: Vec<&str> = ids.map(DispatchId::as_str).collect();
    ids.sort_unstable();
    let common = |two: &[&str]| {
        let [one, other] = two else { return 0 };
        one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count()
    };
    ids.windows(2).map(|two| common(two) + 1).max().unwrap_or(0).max(ID_CHARS)
}
