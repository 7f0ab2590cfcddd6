//! The attributes `#[electron]` and `#[lattice]` of the crate `cov`. Reads functions and writes
//! their companions; what those do is in `cov`, so that this crate decides nothing at run time.

mod attributes;
mod electron;
mod lattice;
mod signature;

use proc_macro::TokenStream;

/// Makes a function an electron: a task that can be a node of a workflow. The function stays what
/// it was; a companion type of the same name has `node`, `map` and `each`.
///
/// ```
/// use cov::electron;
///
/// #[electron(label = "sum up", retries = 2, time_limit = "30s")]
/// fn add(a: i64, b: i64) -> i64 {
///     a + b
/// }
///
/// assert_eq!(add(1, 2), 3);
/// let lattice = cov::graph::build("sums", || add::node(add::node(1, 2), 3))?;
/// assert_eq!(lattice.electrons(), 2);
/// # Ok::<(), cov::Error>(())
/// ```
///
/// The function may be async and may return a `Result` whose error can be shown. Its arguments are
/// taken by value and, like its output, are types that serde knows; it has no type parameters.
///
/// - `label = "…"`: what people see; the function's name otherwise.
/// - `name = "…"`: the name by which runners know it; its path otherwise.
/// - `executor = "…"`: where it runs.
/// - `retries = 2`: how many more attempts follow a failed one.
/// - `time_limit = "30s"`: how long one attempt may run; `ms`, `s`, `m` and `h` are understood.
/// - `memory_limit_mb = 256`: how large the address space of its process may become, in units of 2^20
///   bytes; a call that wants more fails.
/// - `output = "json"`: how its output travels: `"bincode"` if nothing is said, `"json"`, or `"array"`
///   for numbers and nested lists of them.
#[proc_macro_attribute]
pub fn electron(attributes: TokenStream, function: TokenStream) -> TokenStream {
    electron::expand(attributes.into(), function.into()).into()
}

/// Makes a function a lattice: a workflow that is built by calling it. A companion type of the
/// same name has `build`, which makes the graph, and `node`, which makes it a sublattice of another.
///
/// ```
/// use cov::{Node, electron, lattice};
///
/// #[electron]
/// fn square(x: f64) -> f64 {
///     x * x
/// }
///
/// #[lattice(name = "squares")]
/// fn squares(values: Vec<f64>) -> Vec<Node<f64>> {
///     square::map(values)
/// }
///
/// let lattice = squares::build(vec![1.0, 2.0])?;
/// assert_eq!((lattice.name(), lattice.electrons()), ("squares", 2));
/// # Ok::<(), cov::Error>(())
/// ```
///
/// What an electron does not say of itself, it takes from its lattice: `executor`, `retries`,
/// `time_limit`, `memory_limit_mb`. `output = "json"` has the result travel as JSON.
#[proc_macro_attribute]
pub fn lattice(attributes: TokenStream, function: TokenStream) -> TokenStream {
    lattice::expand(attributes.into(), function.into()).into()
}
