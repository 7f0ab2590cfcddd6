//! What several benches and the counts of instructions are made of: workflows, manifests, archives, commits. Measures
//! nothing itself.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on has to end")]

pub mod commits;
pub mod lives;
pub mod manifests;
pub mod objects;
pub mod servers;
