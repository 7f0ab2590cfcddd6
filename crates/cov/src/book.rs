//! The pages of the book whose Rust runs as doc tests. Holds nothing else.
#![doc = include_str!("../../../docs/start/rust.md")]
