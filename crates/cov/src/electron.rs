//! What the attributes make of a function: its description, and how it is called with values that
//! came from elsewhere. Descriptions are gathered when the program is linked.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::slice;
use std::time::Duration;

use cov_core::graph::NodeKind;
use cov_core::transportable::{Encoding, TransportableObject};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::graph::{Settings, Sublattice};
use crate::program::{DIGEST_VARIABLE, ProgramName};
use crate::shape::Shape;
use crate::value::{Leaf, decode, encode};

/// A registered electron. Made by the attributes; of interest to those who list what a program
/// can run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Electron {
    /// The name by which servers and runners know it: its path, unless another was given.
    pub name: &'static str,
    /// What people see.
    pub label: &'static str,
    /// Names of its parameters.
    pub parameters: &'static [&'static str],
    /// `Task`, or `Sublattice` when it builds a graph.
    pub kind: NodeKind,
    /// How its output is encoded, unless a consumer needs JSON.
    pub output: Encoding,
    /// Its executor, if it names one.
    pub executor: Option<&'static str>,
    /// How many more attempts follow a failed one, if it says so.
    pub retries: Option<u32>,
    /// How long one attempt may run, if it says so.
    pub time_limit: Option<Duration>,
    /// How large its process may become, if it says so, in units of 2^20 bytes.
    pub memory_limit_mb: Option<u64>,
    /// The source file.
    pub file: &'static str,
    /// The line there.
    pub line: u32,
    run: Run,
}

/// Decodes the inputs, calls the function and encodes what it returns.
type Run = fn(&mut Inputs<'_>) -> Result<TransportableObject, Failure>;

impl Electron {
    /// For the attributes.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        [name, label, file]: [&'static str; 3],
        line: u32,
        parameters: &'static [&'static str],
        kind: NodeKind,
        run: Run,
    ) -> Self {
        Self {
            name,
            label,
            parameters,
            kind,
            output: Encoding::Bincode,
            executor: None,
            retries: None,
            time_limit: None,
            memory_limit_mb: None,
            file,
            line,
            run,
        }
    }

    /// For the attributes.
    #[doc(hidden)]
    #[must_use]
    pub const fn with(
        mut self,
        executor: Option<&'static str>,
        retries: Option<u32>,
        time_limit_ms: Option<u64>,
        memory_limit_mb: Option<u64>,
        output: Encoding,
    ) -> Self {
        self.executor = executor;
        self.retries = retries;
        if let Some(milliseconds) = time_limit_ms {
            self.time_limit = Some(Duration::from_millis(milliseconds));
        }
        self.memory_limit_mb = memory_limit_mb;
        self.output = output;
        self
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            executor: self.executor.map(Into::into),
            retries: self.retries,
            time_limit: self.time_limit,
            work_dir: None,
            memory_limit_mb: self.memory_limit_mb,
        }
    }

    pub(crate) fn run(&self, inputs: &mut Inputs<'_>) -> Result<TransportableObject, Failure> {
        WANTED_OUTPUT.set(inputs.output);
        (self.run)(inputs)
    }

    fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// What the linker gathers.
#[doc(hidden)]
#[derive(Debug)]
pub struct Registered(pub &'static Electron);

inventory::collect!(Registered);

/// All electrons that are linked into this program, by name.
///
/// ```
/// #[cov::electron(name = "greeting")]
/// fn greet(name: String) -> String {
///     format!("hello {name}")
/// }
///
/// let electrons = cov::electrons()?;
/// assert_eq!(electrons["greeting"].parameters, ["name"]);
/// # Ok::<(), cov::Error>(())
/// ```
///
/// # Errors
/// `SameName`: two have the same name.
pub fn electrons() -> Result<HashMap<&'static str, &'static Electron>, Error> {
    let mut known: HashMap<&'static str, &'static Electron> = HashMap::new();
    for Registered(electron) in inventory::iter::<Registered> {
        if let Some(other) = known.insert(electron.name, electron) {
            let (first, second) = (other.place(), electron.place());
            return Err(Error::SameName { name: electron.name.to_owned(), first, second });
        }
    }
    Ok(known)
}

thread_local! {
    /// How the output of the electron that runs on this thread is to be encoded.
    static WANTED_OUTPUT: Cell<Encoding> = const { Cell::new(Encoding::Bincode) };
}

pub(crate) fn wanted_output() -> Encoding {
    WANTED_OUTPUT.get()
}

/// Why an electron did not return a value. A text for the user.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The values that reached an electron.
#[doc(hidden)]
#[derive(Debug)]
pub struct Inputs<'a> {
    electron: &'a str,
    leaves: slice::Iter<'a, Leaf>,
    /// One for each argument; empty when each is one value.
    shapes: &'a [Shape],
    arguments: usize,
    taken: usize,
    output: Encoding,
}

impl<'a> Inputs<'a> {
    pub(crate) fn new(
        electron: &'a str,
        leaves: &'a [Leaf],
        shapes: &'a [Shape],
        output: Encoding,
    ) -> Self {
        let arguments = if shapes.is_empty() { leaves.len() } else { shapes.len() };
        Self { electron, leaves: leaves.iter(), shapes, arguments, taken: 0, output }
    }

    /// Checks the number of arguments.
    pub fn expect(&self, count: usize) -> Result<(), Failure> {
        if self.arguments == count {
            return Ok(());
        }
        let (electron, given) = (self.electron, self.arguments);
        Err(Failure(format!("`{electron}` takes {count} arguments and was given {given}")))
    }

    /// Decodes the next argument.
    pub fn take<T: DeserializeOwned>(&mut self, parameter: &str) -> Result<T, Failure> {
        let shape = match self.shapes {
            [] => &Shape::Value,
            shapes => shapes.get(self.taken).unwrap_or(&Shape::Value),
        };
        self.taken += 1;
        decode(shape, &mut self.leaves).map_err(|error| {
            Failure(format!("argument `{parameter}` of `{}`: {error}", self.electron))
        })
    }

    /// Encodes what the electron returned.
    pub fn encode<R: Returned>(&self, returned: R) -> Result<TransportableObject, Failure> {
        let encoded = returned.encode(self.output);
        encoded
            .map_err(|Failure(text)| Failure(format!("the output of `{}`: {text}", self.electron)))
    }
}

/// What an electron can return: a value with a serde form, or a [`Sublattice`].
#[diagnostic::on_unimplemented(
    message = "an electron cannot return `{Self}`",
    label = "has no serde form",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it"
)]
pub trait Returned {
    /// What callers get.
    type Value;

    /// What the electron is to the engine.
    const KIND: NodeKind;

    /// As bytes.
    #[doc(hidden)]
    fn encode(self, encoding: Encoding) -> Result<TransportableObject, Failure>;
}

impl<T: Serialize> Returned for T {
    type Value = T;

    const KIND: NodeKind = NodeKind::Task;

    fn encode(self, encoding: Encoding) -> Result<TransportableObject, Failure> {
        encode(&self, encoding).map_err(|error| Failure(error.to_string()))
    }
}

impl<T> Returned for Sublattice<T> {
    type Value = T;

    const KIND: NodeKind = NodeKind::Sublattice;

    fn encode(self, _encoding: Encoding) -> Result<TransportableObject, Failure> {
        let lattice = self.into_lattice();
        let printed = format!("a workflow of {} electrons", lattice.electrons());
        let bundle = match std::env::var(DIGEST_VARIABLE) {
            Ok(digest) => {
                let platform = cov_core::platform::current();
                lattice.into_bundle(&ProgramName { digest, platform })
            }
            // The server gives the graph the program of the task that built it.
            Err(_) => lattice.bundle().clone(),
        };
        let document = bundle.to_json().map_err(|error| Failure(error.to_string()))?;
        Ok(crate::value::archive(Encoding::Json, printed, document))
    }
}
