//! Graphs and how they are made: nodes, what can be an argument, the builder underneath, and the
//! lattice that comes out. Runs nothing and sends nothing.
//!
//! The attributes record into the graph that is being built on this thread. [`build`] makes one
//! from any closure, which is the way to graphs whose size is known only when the program runs:
//!
//! ```
//! use cov::electron;
//!
//! #[electron]
//! fn square(x: i64) -> i64 {
//!     x * x
//! }
//!
//! let sizes = [3, 5];
//! let lattice = cov::graph::build("squares", || {
//!     sizes.map(|size| square::map(0..size))
//! })?;
//! assert_eq!(lattice.electrons(), 8);
//! # Ok::<(), cov::Error>(())
//! ```

mod argument;
mod builder;
mod call;
mod contents;
mod executor;
mod finish;
mod lattice;
mod node;
mod settings;
#[cfg(test)]
mod tests;

pub use crate::shape::Shape;
pub use argument::{Argument, Collected, Constant, Nodes, Numbers, array, collect, value};
pub use builder::{Builder, Sink};
pub use call::{Call, Laid};
pub use executor::Executor;
pub use lattice::{Lattice, Sublattice};
pub use node::Node;
pub use settings::Settings;

use crate::Error;

/// Builds a graph: electrons that `body` calls on their companions (`add::node(1, 2)`) become its
/// nodes, and what it returns its result.
///
/// # Errors
/// The first fault found: a node of another graph, a value that cannot be encoded, nodes that
/// wait for each other.
pub fn build<N: Nodes>(
    name: impl Into<String>,
    body: impl FnOnce() -> N,
) -> Result<Lattice<N::Value>, Error> {
    let mut builder = Builder::new(name);
    let output = builder.scope(body);
    builder.finish(&output)
}
