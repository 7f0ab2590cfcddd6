//! Plain data out of Python's pickles: nothing, truth values, numbers, texts, bytes, lists, tuples,
//! sets and dictionaries, as every protocol from the second on writes them. Runs nothing of what a
//! pickle says: where it builds an object, the object's type is noted and nothing else, and reading
//! it is an error. Ends on every input, with bounded memory and depth.
//!
//! ```
//! use cov_core::pickle::Pickle;
//! // What Python writes for `{'a': (1, None)}`.
//! let bytes = b"\x80\x04}\x8c\x01aK\x01N\x86s.";
//! let pickle = Pickle::from_slice(bytes)?;
//! let read: std::collections::BTreeMap<String, (u8, Option<u8>)> = pickle.read()?;
//! assert_eq!(read["a"], (1, None));
//! assert_eq!(pickle.to_json()?, br#"{"a":[1,null]}"#);
//! # Ok::<(), cov_core::pickle::Error>(())
//! ```

mod parse;
mod read;
mod write;

pub use read::Reader;

use std::cell::Cell;
use std::fmt::Display;

use serde::de::DeserializeOwned;

/// Deeper nested values are not read. As deep as JSON is read.
pub const DEPTH_MAX: u32 = 128;

/// A part that stands in several places is read in each of them. So many parts are read at least.
const VISITS_MIN: u64 = 16 * 1024 * 1024;

/// So many bytes of a text count as another part.
const BYTES_PER_VISIT: u64 = 32;

/// Why bytes are no pickle, or one that cannot be read as what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are cut off, or no pickle of a protocol that is read.
    #[error("the bytes are no pickle that is read: {reason}, at byte {at}")]
    Layout {
        /// What is wrong.
        reason: &'static str,
        /// Where.
        at: usize,
    },
    /// It builds an object.
    #[error(
        "it holds a `{type_name}`; of Python's values, plain data is read: None, truth values, \
         numbers, text, bytes, lists, tuples, sets and dicts{}",
        advice(type_name)
    )]
    Object {
        /// The type, as Python names it.
        type_name: String,
    },
    /// An integer of more than 128 bits.
    #[error("it holds an integer of {bytes} bytes; 16 are read at most")]
    Integer {
        /// How long it is. Bytes.
        bytes: usize,
    },
    /// Nested deeper than [`DEPTH_MAX`], or a list that holds itself.
    #[error("it is nested more than {DEPTH_MAX} deep, or holds itself")]
    TooDeep,
    /// The same part stands in too many places.
    #[error("it repeats its parts too often")]
    TooLarge,
    /// It has no form in JSON.
    #[error("it has no form in json: {reason}")]
    NoJson {
        /// Why.
        reason: String,
    },
    /// It is not what was asked for.
    #[error("{0}")]
    Mismatch(String),
}

fn advice(type_name: &str) -> &'static str {
    match type_name.starts_with("numpy") {
        true => " (NumPy's values have `.item()` and `.tolist()` for that)",
        false => "",
    }
}

impl serde::de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::Mismatch(message.to_string())
    }
}

/// Index of an item.
type Id = u32;

/// A part of a pickle. Refers to its own parts by index, as parts may be shared.
#[derive(Debug, Clone, PartialEq)]
enum Item<'a> {
    None,
    Bool(bool),
    Int(i128),
    /// An integer of so many bytes.
    Long(usize),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// A list, a tuple or a set.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// What is known under this name in Python.
    Name(Box<str>),
    /// An instance of this type, or what a function of this name returns.
    Object(Box<str>),
}

/// A pickle whose parts are known. Texts and bytes stay where they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Pickle<'a> {
    items: Vec<Item<'a>>,
    root: Id,
    /// How many more parts may be visited.
    visits: Cell<u64>,
}

impl<'a> Pickle<'a> {
    /// Finds the parts.
    ///
    /// # Errors
    /// `Layout`. That it builds objects is an error only for those who read these.
    pub fn from_slice(bytes: &'a [u8]) -> Result<Self, Error> {
        let (items, root) = parse::parse(bytes)?;
        let visits = Cell::new(VISITS_MIN.max(bytes.len() as u64 * 4));
        Ok(Self { items, root, visits })
    }

    /// For serde.
    #[must_use]
    pub fn reader(&self) -> Reader<'_, 'a> {
        Reader::new(self, self.root)
    }

    /// The value. Bytes are read as lists of numbers, too, and integers as floats.
    ///
    /// # Errors
    /// It is no `T`, or no plain data; see [`enum@Error`].
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(self.reader())
    }

    /// The value as JSON: tuples and sets are lists, bytes are lists of numbers.
    ///
    /// # Errors
    /// `NoJson`: a number that is infinite or not a number, or a key that is neither text nor a
    /// number; otherwise it is no plain data.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        write::to_json(self)
    }

    fn item(&self, id: Id) -> &Item<'a> {
        // Every index was made with its item.
        self.items.get(id as usize).unwrap_or(&Item::None)
    }

    fn visit(&self, item: &Item<'a>) -> Result<(), Error> {
        let bytes = match item {
            Item::Text(text) => text.len(),
            Item::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        let cost = 1 + bytes as u64 / BYTES_PER_VISIT;
        let left = self.visits.get().checked_sub(cost).ok_or(Error::TooLarge)?;
        self.visits.set(left);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
