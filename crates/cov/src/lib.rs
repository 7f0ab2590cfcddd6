//! Workflows in Rust. `#[electron]` makes a function a task that can be a node of a graph;
//! `#[lattice]` makes a function that calls electrons a workflow; [`runner::init`], the first line
//! of `main`, lets a server run the program's electrons. This crate makes graphs and runs single
//! electrons; it schedules nothing and keeps nothing.
//!
//! ```
//! use cov::{Node, electron, lattice};
//!
//! #[electron]
//! fn add(a: i64, b: i64) -> i64 {
//!     a + b
//! }
//!
//! #[electron(retries = 2, time_limit = "30s")]
//! async fn total(numbers: Vec<i64>) -> Result<i64, String> {
//!     match numbers.is_empty() {
//!         true => Err("there is nothing to add".to_owned()),
//!         false => Ok(numbers.into_iter().sum()),
//!     }
//! }
//!
//! #[lattice]
//! fn sums(count: i64) -> Node<i64> {
//!     let first = add::node(1, 2);
//!     let more = add::map(0..count, first);
//!     total::node(more)
//! }
//!
//! fn main() -> Result<(), cov::Error> {
//!     cov::runner::init();
//!     // An electron is still the function that it was.
//!     assert_eq!(add(1, 2), 3);
//!     // A lattice is built, and then dispatched.
//!     let lattice = sums::build(10)?;
//!     assert_eq!(lattice.electrons(), 12);
//!     Ok(())
//! }
//! ```
//!
//! # Sending it to a server
//!
//! With the feature `client`, which is on by default, a lattice is dispatched and its typed result
//! awaited: [`Lattice::dispatch`], [`Lattice::dispatch_sync`], and [`Lattice::run`] where there is no
//! async runtime. The program ships itself: a server that does not have it yet gets it with the graph.
//!
//! # What the attributes make
//!
//! For `#[electron] fn f(a: A, b: B) -> R` (or `Result<R, E>`, or `Sublattice<R>`), beside `f` itself:
//!
//! - `f::node(a, b) -> Node<R>`: records a call. Each argument is a value, a [`Node`] that will
//!   have it, or a collection of nodes; see [`graph::Argument`].
//! - `f::map(items, b) -> Vec<Node<R>>`: a call for each item, with the same further arguments.
//! - `f::each(items, b) -> Node<Vec<R>>`: the same for a list that is known only when an earlier
//!   node has run: a sublattice with one node for each item.
//!
//! For `#[lattice] fn w(x: X) -> N`, where `N` is a node or a collection of nodes:
//!
//! - `w::build(x) -> Result<Lattice<_>, Error>`: the graph.
//! - `w::node(x)`, in another lattice: a sublattice, built by a task from arguments that may be
//!   nodes. `w(x)` there puts the nodes of `w` into the other lattice itself.
//!
//! # Values
//!
//! Arguments and outputs are types that serde knows. From Rust to Rust they travel as bincode. A
//! value that a Python electron takes or makes travels as JSON, and so does the output of an
//! electron with `output = "json"`: needed for types that must see their data to know its form,
//! such as `serde_json::Value` or untagged enums. Numbers, and nested lists of them, travel as bytes in
//! NumPy's layout with `output = "array"` and [`array()`].

extern crate self as cov;

#[cfg(doctest)]
mod book;
#[cfg(feature = "client")]
mod dispatch;
mod electron;
mod error;
mod function;
pub mod graph;
#[doc(hidden)]
pub mod macro_support;
pub mod program;
pub mod runner;
mod shape;
mod value;

#[cfg(feature = "client")]
pub use cov_client::{Client, blocking};
pub use cov_core as core;
pub use cov_macros::{electron, lattice};

#[cfg(feature = "client")]
pub use dispatch::Dispatched;
pub use electron::{Electron, Returned, electrons};
pub use error::Error;
pub use graph::{Executor, Lattice, Node, Sublattice, array, collect, value};
