//! What can stand where an electron expects a value: the value itself, a node that will have it,
//! or a collection of nodes. The compiler checks the types here; nothing is checked later.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::builder::Sink;
use super::{Node, Shape};

/// What can be given to an electron that takes a `T`: a `T`, a `Node<T>`, a reference to either,
/// and for collections a collection of nodes: `Vec<Node<T>>`, an array, a tuple, an option or a map
/// of them. What nests deeper, or mixes nodes and values, goes through [`collect`].
#[diagnostic::on_unimplemented(
    message = "an electron that takes `{T}` cannot be given `{Self}`",
    label = "expected `{T}` or `Node<{T}>`",
    note = "collections of nodes are taken too: `Vec<Node<_>>` as a `Vec<_>`; use `cov::collect` for deeper ones"
)]
pub trait Argument<T> {
    /// Records it.
    #[doc(hidden)]
    fn lay(self, sink: &mut Sink<'_>) -> Shape;
}

/// A node, or a collection of nodes at any depth: what a lattice returns, and what
/// [`collect`] makes an argument of. Numbers, text and [`value`]s are taken as they are.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a node nor a collection of nodes",
    label = "expected a `Node`, or a `Vec`, tuple, option or map of nodes",
    note = "a plain value goes through `cov::value(..)`"
)]
pub trait Nodes {
    /// What it will be when the nodes have run.
    type Value;

    /// Records it.
    #[doc(hidden)]
    fn lay(&self, sink: &mut Sink<'_>) -> Shape;
}

impl<T: Serialize> Argument<T> for T {
    fn lay(self, sink: &mut Sink<'_>) -> Shape {
        sink.value(&self)
    }
}

impl<T: Serialize> Argument<T> for &T {
    fn lay(self, sink: &mut Sink<'_>) -> Shape {
        sink.value(self)
    }
}

impl Argument<String> for &str {
    fn lay(self, sink: &mut Sink<'_>) -> Shape {
        sink.value(self)
    }
}

impl Argument<PathBuf> for &Path {
    fn lay(self, sink: &mut Sink<'_>) -> Shape {
        sink.value(self)
    }
}

impl Argument<PathBuf> for &str {
    fn lay(self, sink: &mut Sink<'_>) -> Shape {
        sink.value(Path::new(self))
    }
}

impl<T: Serialize> Argument<Vec<T>> for &[T] {
    fn lay(self, sink: &mut Sink<'_>) -> Shape {
        sink.value(self)
    }
}

/// Collections whose nodes are known to the compiler as such.
macro_rules! nodes_as_arguments {
    ($([$($generics:tt)*] $taken:ty => $given:ty;)*) => {$(
        impl<$($generics)*> Argument<$taken> for $given {
            fn lay(self, sink: &mut Sink<'_>) -> Shape {
                Nodes::lay(&self, sink)
            }
        }
    )*};
}

nodes_as_arguments! {
    [T] T => Node<T>;
    [T] T => &Node<T>;
    [T] Vec<T> => Vec<Node<T>>;
    [T] Vec<T> => &Vec<Node<T>>;
    [T] Vec<T> => &[Node<T>];
    [T] Vec<Vec<T>> => Vec<Vec<Node<T>>>;
    [T] Option<T> => Option<Node<T>>;
    [T] Option<Vec<T>> => Option<Vec<Node<T>>>;
    [T, const N: usize] Vec<T> => [Node<T>; N];
    [T, const N: usize] [T; N] => [Node<T>; N];
    [K: Serialize, T] BTreeMap<K, T> => BTreeMap<K, Node<T>>;
    [K: Serialize, T, S: BuildHasher, R] HashMap<K, T, R> => HashMap<K, Node<T>, S>;
    [A, B] (A, B) => (Node<A>, Node<B>);
    [A, B, C] (A, B, C) => (Node<A>, Node<B>, Node<C>);
    [A, B, C, D] (A, B, C, D) => (Node<A>, Node<B>, Node<C>, Node<D>);
    [A, B] Vec<(A, B)> => Vec<(Node<A>, Node<B>)>;
}

impl<T> Nodes for Node<T> {
    type Value = T;

    fn lay(&self, sink: &mut Sink<'_>) -> Shape {
        sink.node(self.graph, self.id)
    }
}

impl<N: Nodes + ?Sized> Nodes for &N {
    type Value = N::Value;

    fn lay(&self, sink: &mut Sink<'_>) -> Shape {
        N::lay(self, sink)
    }
}

impl<N: Nodes> Nodes for Vec<N> {
    type Value = Vec<N::Value>;

    fn lay(&self, sink: &mut Sink<'_>) -> Shape {
        self.as_slice().lay(sink)
    }
}

impl<N: Nodes> Nodes for [N] {
    type Value = Vec<N::Value>;

    fn lay(&self, sink: &mut Sink<'_>) -> Shape {
        Shape::list(self.iter().map(|item| item.lay(sink)).collect())
    }
}

impl<N: Nodes, const LENGTH: usize> Nodes for [N; LENGTH] {
    type Value = Vec<N::Value>;

    fn lay(&self, sink: &mut Sink<'_>) -> Shape {
        self.as_slice().lay(sink)
    }
}

impl<N: Nodes> Nodes for Option<N> {
    type Value = Option<N::Value>;

    fn lay(&self, sink: &mut Sink<'_>) -> Shape {
        match self {
            Some(inner) => Shape::Present(Box::new(inner.lay(sink))),
            None => Shape::Absent,
        }
    }
}

impl<K: Serialize, N: Nodes> Nodes for BTreeMap<K, N> {
    type Value = BTreeMap<K, N::Value>;

    fn lay(&self, sink: &mut Sink<'_>) -> Shape {
        Shape::Map(self.iter().map(|(key, value)| (sink.value(key), value.lay(sink))).collect())
    }
}

impl<K: Serialize, N: Nodes, S: BuildHasher> Nodes for HashMap<K, N, S> {
    type Value = HashMap<K, N::Value>;

    fn lay(&self, sink: &mut Sink<'_>) -> Shape {
        Shape::Map(self.iter().map(|(key, value)| (sink.value(key), value.lay(sink))).collect())
    }
}

macro_rules! tuples_of_nodes {
    ($(($($name:ident),*))*) => {$(
        impl<$($name: Nodes),*> Nodes for ($($name,)*) {
            type Value = ($($name::Value,)*);

            #[expect(non_snake_case, reason = "the variables are named like their types")]
            fn lay(&self, sink: &mut Sink<'_>) -> Shape {
                let ($($name,)*) = self;
                Shape::Tuple(vec![$($name.lay(sink)),*])
            }
        }
    )*};
}

tuples_of_nodes! { (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) }

impl Nodes for () {
    type Value = ();

    fn lay(&self, _sink: &mut Sink<'_>) -> Shape {
        Shape::Unit
    }
}

/// Values that mean themselves wherever nodes are collected.
macro_rules! constants {
    ($($kind:ty)*) => {$(
        impl Nodes for $kind {
            type Value = $kind;

            fn lay(&self, sink: &mut Sink<'_>) -> Shape {
                sink.value(self)
            }
        }
    )*};
}

constants! { bool char i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize f32 f64 String PathBuf }

/// A plain value among nodes; see [`value`].
#[derive(Debug, Clone)]
pub struct Constant<T>(T);

/// Makes a plain value stand among nodes: in what a lattice returns, or in [`collect`].
///
/// ```
/// let lattice = cov::graph::build("constant", || cov::value(vec![1, 2, 3]))?;
/// assert_eq!(lattice.electrons(), 0);
/// # Ok::<(), cov::Error>(())
/// ```
pub fn value<T: Serialize>(value: T) -> Constant<T> {
    Constant(value)
}

impl<T: Serialize> Nodes for Constant<T> {
    type Value = T;

    fn lay(&self, sink: &mut Sink<'_>) -> Shape {
        sink.value(&self.0)
    }
}

/// Numbers that travel as bytes; see [`array()`].
#[derive(Debug, Clone)]
pub struct Numbers<T>(T);

/// Has numbers, or nested lists of them, travel as bytes in NumPy's layout: exact, and without a
/// detour through text where Python takes them.
///
/// ```
/// use cov::graph::Call;
/// let lattice = cov::graph::build("mean", || {
///     Call::python("numpy:mean").arg::<Vec<f64>>(cov::array(vec![0.1, 0.2])).node::<f64>()
/// })?;
/// assert_eq!(lattice.electrons(), 1);
/// # Ok::<(), cov::Error>(())
/// ```
pub fn array<T: Serialize>(numbers: T) -> Numbers<T> {
    Numbers(numbers)
}

impl<T: Serialize> Argument<T> for Numbers<T> {
    fn lay(self, sink: &mut Sink<'_>) -> Shape {
        sink.array(&self.0)
    }
}

/// Nodes that are one argument together; see [`collect`].
#[derive(Debug, Clone)]
pub struct Collected<N>(N);

/// Makes one argument of nodes at any depth, mixed with plain values.
///
/// ```
/// use cov::electron;
///
/// #[electron]
/// fn double(x: f64) -> f64 {
///     x * 2.0
/// }
///
/// #[electron]
/// fn report(rows: Vec<(String, f64)>) -> String {
///     format!("{rows:?}")
/// }
///
/// let lattice = cov::graph::build("report", || {
///     let rows = ["a", "b"].map(|name| (name.to_owned(), double::node(1.5)));
///     report::node(cov::collect(rows))
/// })?;
/// assert_eq!(lattice.electrons(), 3);
/// # Ok::<(), cov::Error>(())
/// ```
pub fn collect<N: Nodes>(nodes: N) -> Collected<N> {
    Collected(nodes)
}

impl<N: Nodes> Argument<N::Value> for Collected<N> {
    fn lay(self, sink: &mut Sink<'_>) -> Shape {
        self.0.lay(sink)
    }
}
