//! Which executor an electron asks for, and what that one is told. Knows no executor by itself.

use std::borrow::Cow;

use cov_core::executor::ExecutorSpec;
use serde_json::{Map, Value, json};

use super::settings::RUST;

/// An executor, by its name: one of the server's own, or an engine that the server reaches by a
/// plugin. Electrons of every language run on every executor.
///
/// ```
/// use cov::{Executor, Node, electron, lattice};
///
/// #[electron]
/// fn square(x: u64) -> u64 {
///     x * x
/// }
///
/// #[lattice]
/// fn sixteen() -> Node<u64> {
///     let cluster = Executor::dask("tcp://10.0.0.7:8786");
///     square::node(square::node(2).executor(cluster))
/// }
///
/// let lattice = sixteen::build()?;
/// assert_eq!(lattice.electrons(), 2);
/// # Ok::<(), cov::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Executor {
    name: Cow<'static, str>,
    attributes: Map<String, Value>,
}

impl Executor {
    /// The executor of this name, told nothing.
    #[must_use]
    pub fn named(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), attributes: Map::new() }
    }

    /// The Dask cluster whose scheduler has this address, such as `tcp://10.0.0.7:8786`.
    #[must_use]
    pub fn dask(address: impl Into<String>) -> Self {
        Self::named("dask").attribute("scheduler_address", address.into())
    }

    /// Tells it something: one of the attributes that its plugin has in Python.
    ///
    /// ```
    /// use cov::Executor;
    /// let far = Executor::named("ssh").attribute("hostname", "10.0.0.8").attribute("username", "ada");
    /// assert_eq!(far.name(), "ssh");
    /// ```
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// The name by which electrons ask for it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As a manifest says it, for electrons of `language`, with what is said of them beside.
    pub(super) fn spec(&self, language: &str, mut said: Map<String, Value>) -> ExecutorSpec {
        let name = if language == RUST && self.name != RUST {
            // The program is what runs such an electron; this is only where.
            let on = json!({ "name": self.name, "data": { "attributes": self.attributes } });
            said.insert("on".to_owned(), on);
            RUST
        } else {
            said.extend(self.attributes.clone());
            &self.name
        };
        ExecutorSpec { name: name.to_owned(), data: json!({ "attributes": said }) }
    }
}

impl From<&str> for Executor {
    fn from(name: &str) -> Self {
        Self::named(name.to_owned())
    }
}

impl From<String> for Executor {
    fn from(name: String) -> Self {
        Self::named(name)
    }
}
