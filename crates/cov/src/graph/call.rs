//! One call of an electron on its way into a graph.

use std::borrow::Cow;

use cov_core::graph::NodeKind;
use cov_core::ids::NodeId;
use cov_core::transportable::Encoding;

use super::builder::{Builder, Sink, with_active};
use super::{Argument, Node, Settings, Shape};
use crate::electron::Electron;
use crate::function::Target;

/// An argument that has been recorded: where its values come from, and how they are put together.
/// Can be given to many calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Laid {
    pub(super) shape: Shape,
    pub(super) sources: Vec<NodeId>,
}

/// A call of an electron: what the companions that the attributes make are written with, and the
/// way to call an electron that is known only when the program runs, or one in Python.
///
/// ```
/// use cov::graph::Call;
/// let lattice = cov::graph::build("mixed", || {
///     let raw = Call::python("loader:load").arg::<u32>(7).node::<Vec<f64>>();
///     Call::rust("sums::sum").arg::<Vec<f64>>(raw).label("sum").node::<f64>()
/// })?;
/// assert_eq!(lattice.electrons(), 2);
/// # Ok::<(), cov::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a call is recorded by `node`"]
pub struct Call {
    pub(super) target: Target,
    pub(super) label: Cow<'static, str>,
    pub(super) kind: NodeKind,
    pub(super) output: Encoding,
    pub(super) settings: Settings,
    /// Names of the parameters, as far as they are known.
    pub(super) parameters: &'static [&'static str],
    pub(super) args: Vec<Laid>,
    pub(super) kwargs: Vec<(String, Laid)>,
    pub(super) path: Vec<String>,
}

impl Call {
    /// A call of this electron.
    pub fn of(electron: &'static Electron) -> Self {
        Self {
            label: Cow::Borrowed(electron.label),
            kind: electron.kind,
            output: electron.output,
            settings: electron.settings(),
            parameters: electron.parameters,
            ..Self::to(Target::Rust(Cow::Borrowed(electron.name)))
        }
    }

    /// A call of the Rust electron that the running program registers under this name, such as
    /// `my_crate::my_module::add`. Nobody checks its types before it runs.
    pub fn rust(name: impl Into<String>) -> Self {
        Self::to(Target::Rust(Cow::Owned(name.into())))
    }

    /// A call of a Python function, `module:function` or `module:Class.method`. The server's Python
    /// looks for the module in the folders named by [`Call::path`], in the folder that the task
    /// runs in if [`Settings::work_dir`] names one, and then where that Python finds all modules:
    /// `PYTHONPATH` of the server and installed packages. What it returns travels as JSON, unless
    /// [`Call::output`] says otherwise.
    ///
    /// ```
    /// use cov::core::transportable::Encoding;
    /// use cov::graph::Call;
    /// let lattice = cov::graph::build("scaled", || {
    ///     Call::python("steps:scale")
    ///         .path("/srv/python")
    ///         .arg::<Vec<f64>>(cov::array(vec![1.0, 2.0]))
    ///         .kwarg::<f64>("by", 3.0)
    ///         .output(Encoding::Array)
    ///         .node::<Vec<f64>>()
    /// })?;
    /// assert_eq!(lattice.electrons(), 1);
    /// # Ok::<(), cov::Error>(())
    /// ```
    pub fn python(name: impl Into<String>) -> Self {
        let call = Self::to(Target::Python(Cow::Owned(name.into())));
        Self { output: Encoding::Json, ..call }
    }

    /// Has its output travel in this encoding: JSON; an array, for numbers; or cloudpickle, for what
    /// Python electrons take from Python electrons.
    pub fn output(mut self, encoding: Encoding) -> Self {
        self.output = encoding;
        self
    }

    /// Has the module of a Python function be looked for in this folder, before all others but
    /// those named so earlier. A folder on the server's machine; a file there that has changed is
    /// read again by the next task. Of no use to Rust electrons.
    ///
    /// ```
    /// use cov::graph::Call;
    /// let call = Call::python("steps:load").path(env!("CARGO_MANIFEST_DIR"));
    /// # drop(call);
    /// ```
    pub fn path(mut self, folder: impl Into<String>) -> Self {
        self.path.push(folder.into());
        self
    }

    fn to(target: Target) -> Self {
        let name = target.name();
        let label = name.rsplit([':', '.']).next().unwrap_or(name).to_owned();
        Self {
            label: Cow::Owned(label),
            target,
            kind: NodeKind::Task,
            output: Encoding::Bincode,
            settings: Settings::default(),
            parameters: &[],
            args: Vec::new(),
            kwargs: Vec::new(),
            path: Vec::new(),
        }
    }

    /// Its next positional argument.
    ///
    /// # Panics
    /// When no graph is being built on this thread.
    #[track_caller]
    pub fn arg<T>(mut self, argument: impl Argument<T>) -> Self {
        let laid = self.lay(argument);
        self.args.push(laid);
        self
    }

    /// Its next positional argument, recorded before.
    pub fn laid(mut self, argument: Laid) -> Self {
        self.args.push(argument);
        self
    }

    /// A keyword argument; Python only.
    ///
    /// # Panics
    /// When no graph is being built on this thread.
    #[track_caller]
    pub fn kwarg<T>(mut self, name: impl Into<String>, argument: impl Argument<T>) -> Self {
        let laid = self.lay(argument);
        self.kwargs.push((name.into(), laid));
        self
    }

    /// Records an argument of this call without giving it yet.
    ///
    /// # Panics
    /// When no graph is being built on this thread.
    #[track_caller]
    #[must_use]
    pub fn lay<T>(&self, argument: impl Argument<T>) -> Laid {
        let rust = self.target.is_rust();
        with_active(|builder| {
            let mut sink = Sink::new(builder, self.target.name(), rust);
            let shape = argument.lay(&mut sink);
            Laid { shape, sources: sink.into_sources() }
        })
    }

    /// Names the node, for people.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Cow::Owned(label.into());
        self
    }

    /// Says where and how often it runs.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Says that the electron builds a graph, whose result is the node's output.
    pub fn sublattice(mut self) -> Self {
        self.kind = NodeKind::Sublattice;
        self
    }

    /// Records the call.
    ///
    /// # Panics
    /// When no graph is being built on this thread.
    #[track_caller]
    pub fn node<T>(self) -> Node<T> {
        with_active(|builder: &mut Builder| builder.record(self))
    }
}
