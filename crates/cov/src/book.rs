//! The pages whose Rust runs as doc tests: of the book, and the README. Holds nothing else.
#![doc = include_str!("../../../docs/start/rust.md")]
#![doc = include_str!("../../../README.md")]
