//! What the code that the attributes write calls. No interface for people.

use std::error::Error;
use std::fmt::{Display, Write as _};
use std::future::Future;

pub use inventory;

pub use crate::electron::{Electron, Failure, Inputs, Registered, Returned};
pub use cov_core::graph::NodeKind;
pub use cov_core::transportable::TransportableObject;

use crate::graph::{Builder, Nodes, Sublattice};

/// Runs an async electron to its end.
///
/// # Errors
/// The system gives no runtime.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure(format!("no async runtime: {error}")))?;
    Ok(runtime.block_on(future))
}

/// Builds a lattice within an electron.
///
/// # Errors
/// What is wrong with the graph.
pub fn sublattice<N: Nodes>(
    builder: Builder,
    body: impl FnOnce() -> N,
) -> Result<Sublattice<N::Value>, Failure> {
    let mut builder = builder.output(crate::electron::wanted_output());
    let nodes = builder.scope(body);
    let lattice = builder.finish(&nodes).map_err(|error| Failure(chain(&error)))?;
    Ok(lattice.into())
}

/// An error that an electron returned. By the number of references that a call goes through, the
/// compiler chooses [`WithSources`] where the error has sources, and [`Shown`] elsewhere.
#[derive(Debug)]
pub struct Returning<'a, E: ?Sized>(pub &'a E);

/// For errors with sources.
pub trait WithSources {
    /// The error and what led to it.
    fn describe(&self) -> Failure;
}

/// For all other errors that can be shown.
pub trait Shown {
    /// The error, with what led to it if its alternate form says so.
    fn describe(&self) -> Failure;
}

impl<E: Error> WithSources for Returning<'_, E> {
    fn describe(&self) -> Failure {
        Failure(chain(self.0))
    }
}

impl<E: Display + ?Sized> Shown for &Returning<'_, E> {
    fn describe(&self) -> Failure {
        Failure(format!("{:#}", self.0))
    }
}

/// The error and what led to it, one a line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        write!(text, "\n  caused by: {cause}").ok();
        source = cause.source();
    }
    text
}
