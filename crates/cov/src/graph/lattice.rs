//! A built graph: a manifest with its assets, and the type of its result.

use std::fmt;
use std::marker::PhantomData;

use cov_core::bundle::Bundle;
use cov_core::graph::NodeKind;
use serde_json::Value;

use super::Nodes;
use super::settings::RUST;
use crate::Error;
use crate::program::ProgramName;

/// A workflow that can be dispatched. `T` is what it returns.
pub struct Lattice<T> {
    bundle: Bundle,
    /// For each executor, the language whose electrons use it.
    languages: Vec<&'static str>,
    value: PhantomData<fn() -> T>,
}

impl<T> Lattice<T> {
    pub(super) fn checked(bundle: Bundle, languages: Vec<&'static str>) -> Result<Self, Error> {
        match bundle.manifest.graph(usize::MAX) {
            Ok(_graph) => Ok(Self { bundle, languages, value: PhantomData }),
            Err(source) => {
                let lattice = bundle.manifest.lattice.name;
                Err(Error::Manifest { lattice, source })
            }
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.bundle.manifest.lattice.name
    }

    /// Gives it another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.bundle.manifest.lattice.name = name.into();
        self
    }

    /// How many electrons it calls. Values, and the node that puts the result together, are none.
    #[must_use]
    pub fn electrons(&self) -> usize {
        let nodes = self.bundle.manifest.nodes.iter();
        nodes.filter(|node| matches!(node.kind, NodeKind::Task | NodeKind::Sublattice)).count()
    }

    /// Whether it has electrons in Rust, so that the program that holds them has to reach the
    /// server.
    ///
    /// ```
    /// use cov::graph::Call;
    /// let python = cov::graph::build("steps", || Call::python("steps:load").node::<f64>())?;
    /// assert!(!python.needs_program());
    /// # Ok::<(), cov::Error>(())
    /// ```
    #[must_use]
    pub fn needs_program(&self) -> bool {
        self.languages.contains(&RUST)
    }

    /// The manifest with its assets, as it stands: Rust electrons do not name a program yet.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The manifest with its assets, for a server: each executor of Rust electrons names the
    /// program that holds them.
    #[must_use]
    pub fn into_bundle(mut self, program: &ProgramName) -> Bundle {
        if !self.needs_program() {
            return self.bundle;
        }
        let manifest = &mut self.bundle.manifest;
        let lattice = [&mut manifest.lattice.executor, &mut manifest.lattice.workflow_executor];
        let nodes = manifest.executors.iter_mut().zip(&self.languages);
        let rust = nodes.filter(|(_, language)| **language == RUST).map(|(spec, _)| spec);
        for spec in rust.chain(lattice) {
            if let Some(Value::Object(attributes)) = spec.data.get_mut("attributes") {
                attributes.insert("program".to_owned(), program.digest.clone().into());
                attributes.insert("platform".to_owned(), program.platform.clone().into());
            }
        }
        self.bundle
    }
}

impl<T> fmt::Debug for Lattice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, electrons) = (self.name(), self.electrons());
        f.debug_struct("Lattice").field("name", &name).field("electrons", &electrons).finish()
    }
}

/// A graph that an electron built while it ran. The server runs it, and its result is the output
/// of the electron's node, so that callers see a `Node<T>`.
///
/// ```
/// use cov::{Sublattice, electron};
///
/// #[electron]
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// /// As many electrons as an earlier task said.
/// #[electron]
/// fn squares(count: u64) -> Result<Sublattice<Vec<u64>>, cov::Error> {
///     Sublattice::build("squares", || square::map(0..count))
/// }
///
/// let lattice = cov::graph::build("dynamic", || squares::node(square::node(4)))?;
/// assert_eq!(lattice.electrons(), 2);
/// # Ok::<(), cov::Error>(())
/// ```
#[derive(Debug)]
pub struct Sublattice<T>(Lattice<T>);

impl<T> Sublattice<T> {
    /// Builds it, as [`super::build`] does.
    ///
    /// # Errors
    /// As [`super::build`].
    pub fn build<N: Nodes<Value = T>>(
        name: impl Into<String>,
        body: impl FnOnce() -> N,
    ) -> Result<Self, Error> {
        let output = crate::electron::wanted_output();
        let mut builder = super::Builder::new(name).output(output);
        let nodes = builder.scope(body);
        builder.finish(&nodes).map(Self)
    }

    pub(crate) fn into_lattice(self) -> Lattice<T> {
        self.0
    }
}

impl<T> From<Lattice<T>> for Sublattice<T> {
    fn from(lattice: Lattice<T>) -> Self {
        Self(lattice)
    }
}
