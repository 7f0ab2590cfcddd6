//! Arrays of numbers as bytes: NumPy's `.npy` layout, version 1, which every language reads
//! without a pickle. Little-endian, row by row. Reads any number of dimensions as nested lists and
//! writes nested lists of one number type; copies, and computes nothing.
//!
//! ```
//! use cov_core::array;
//! let bytes = array::to_npy(&vec![vec![1.0, 2.0], vec![3.0, 4.0]])?;
//! let array = array::Array::from_npy(&bytes)?;
//! assert_eq!(array.shape(), [2, 2]);
//! assert_eq!(array.read::<Vec<Vec<f64>>>()?, [[1.0, 2.0], [3.0, 4.0]]);
//! # Ok::<(), array::Error>(())
//! ```

mod read;
mod write;

pub use write::{head, to_npy};

use std::fmt::Display;

use serde::de::DeserializeOwned;

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// Where the data begins is a multiple of this, so that it can be mapped.
const ALIGNMENT: usize = 64;

/// More dimensions than this are refused.
pub const DIMENSIONS_MAX: usize = 32;

/// More rows that hold no number than this are refused.
const EMPTY_ROWS_MAX: usize = 65_536;

/// Why bytes are no array, or a value has no form as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes do not begin as an array does, or are cut off.
    #[error("the bytes are no array of numbers: {reason}")]
    Layout {
        /// What is wrong.
        reason: String,
    },
    /// The array's numbers are of a type that is not read.
    #[error("arrays of `{descr}` are not read; plain little-endian numbers are")]
    Type {
        /// The type, as NumPy spells it.
        descr: String,
    },
    /// The value is no array: not nested lists of one length each, with numbers of one type.
    #[error("the value is no array of numbers: {reason}")]
    NoArray {
        /// What is wrong.
        reason: String,
    },
    /// The array is not what was asked for.
    #[error("{0}")]
    Mismatch(String),
}

impl serde::de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::Mismatch(message.to_string())
    }
}

impl serde::ser::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::NoArray { reason: message.to_string() }
    }
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $variant:ident: $kind:ty = $descr:literal;)*) => {
        /// The type of an array's numbers.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Number {
            $($(#[$doc])* $variant,)*
        }

        impl Number {
            /// As NumPy spells it.
            #[must_use]
            pub fn descr(self) -> &'static str {
                match self { $(Self::$variant => $descr,)* }
            }

            fn from_descr(text: &str) -> Option<Self> {
                match text { $($descr => Some(Self::$variant),)* _ => None }
            }

            /// Bytes of one number.
            #[must_use]
            pub fn size(self) -> usize {
                match self { $(Self::$variant => size_of::<$kind>(),)* }
            }
        }
    };
}

numbers! {
    /// 8 bits, signed.
    I8: i8 = "|i1";
    /// 16 bits, signed.
    I16: i16 = "<i2";
    /// 32 bits, signed.
    I32: i32 = "<i4";
    /// 64 bits, signed.
    I64: i64 = "<i8";
    /// 8 bits, not signed.
    U8: u8 = "|u1";
    /// 16 bits, not signed.
    U16: u16 = "<u2";
    /// 32 bits, not signed.
    U32: u32 = "<u4";
    /// 64 bits, not signed.
    U64: u64 = "<u8";
    /// 32 bits, floating.
    F32: f32 = "<f4";
    /// 64 bits, floating.
    F64: f64 = "<f8";
}

/// An array within the bytes that it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<'a> {
    number: Number,
    shape: Vec<usize>,
    data: &'a [u8],
}

impl<'a> Array<'a> {
    /// Reads the layout. Copies no numbers.
    ///
    /// # Errors
    /// `Layout`, or `Type`.
    pub fn from_npy(bytes: &'a [u8]) -> Result<Self, Error> {
        let refused = |reason: &str| Error::Layout { reason: reason.to_owned() };
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| refused("another beginning"))?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(|| refused("cut off"))?;
        let length = usize::from(u16::from_le_bytes(*length));
        let header = rest.get(..length).ok_or_else(|| refused("cut off"))?;
        let header = std::str::from_utf8(header).map_err(|error| refused(&error.to_string()))?;
        let descr = text_after(header, "'descr':").ok_or_else(|| refused("no type"))?;
        let number = Number::from_descr(descr);
        let number =
            number.ok_or_else(|| Error::Type { descr: descr.chars().take(80).collect() })?;
        if !header.contains("'fortran_order': False") {
            return Err(refused("its columns come first; numpy.ascontiguousarray puts rows first"));
        }
        let shape = shape_in(header).ok_or_else(|| refused("no shape"))?;
        let count =
            shape.iter().try_fold(number.size(), |bytes, length| bytes.checked_mul(*length));
        let data = rest.get(length..).unwrap_or_default();
        if count != Some(data.len()) {
            return Err(refused("shape and length do not fit"));
        }
        // Rows without a number cost no bytes and would still be walked.
        let rows =
            shape.iter().filter(|length| **length > 0).try_fold(1usize, |a, b| a.checked_mul(*b));
        if data.is_empty() && rows.is_none_or(|rows| rows > EMPTY_ROWS_MAX) {
            return Err(refused("too many rows without a number"));
        }
        Ok(Self { number, shape, data })
    }

    /// The type of its numbers.
    #[must_use]
    pub fn number(&self) -> Number {
        self.number
    }

    /// The length of each dimension, the outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers as nested lists, such as `Vec<f64>` or `Vec<[f32; 3]>`; a number if there is no
    /// dimension.
    ///
    /// # Errors
    /// `Mismatch`: dimensions or numbers do not fit the type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(self)
    }

    /// The items of the first dimension.
    fn items(&self) -> Option<impl ExactSizeIterator<Item = Array<'a>>> {
        let (first, inner) = self.shape.split_first()?;
        let size = inner.iter().product::<usize>() * self.number.size();
        let (number, data, inner) = (self.number, self.data, inner.to_vec());
        let item = move |index: usize| {
            let data = data.get(index * size..(index + 1) * size).unwrap_or_default();
            Array { number, shape: inner.clone(), data }
        };
        Some((0..*first).map(item))
    }
}

/// The text in quotes after `key`.
fn text_after<'h>(header: &'h str, key: &str) -> Option<&'h str> {
    let (_, rest) = header.split_once(key)?;
    rest.trim_start().strip_prefix('\'')?.split_once('\'').map(|(text, _)| text)
}

/// The numbers in parentheses after the key of the shape.
fn shape_in(header: &str) -> Option<Vec<usize>> {
    let (_, rest) = header.split_once("'shape':")?;
    let (inside, _) = rest.trim_start().strip_prefix('(')?.split_once(')')?;
    let lengths = inside.split(',').map(str::trim).filter(|length| !length.is_empty());
    let shape = lengths.map(str::parse).collect::<Result<Vec<usize>, _>>().ok()?;
    (shape.len() <= DIMENSIONS_MAX).then_some(shape)
}

#[cfg(test)]
mod tests;
