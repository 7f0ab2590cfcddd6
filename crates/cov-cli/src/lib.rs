//! The part of the program `cov` that reads workflow files: pure, so that it can be tested and
//! fuzzed by itself. The commands are the program's own.

pub mod workflow;
