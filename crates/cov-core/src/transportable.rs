//! `TransportableObject`: a value on its way between programs, as bytes whose encoding is named.
//! Reads and writes Covalent's archive layout byte for byte. Never unpickles anything.
//!
//! ```text
//! 0             8           16               string_offset       data_offset        end
//! | string_offset | data_offset | header (JSON)  | object string     | base64 of data |
//! ```
//!
//! Both offsets are unsigned 64-bit big-endian. They come from outside, so every one is checked
//! before it is used.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::array::{self, Array};
use crate::pickle::{self, Pickle};

const PREFIX_BYTES: usize = 16;

/// Longest header that is read. Bytes.
pub const HEADER_BYTES_MAX: usize = 1024 * 1024;

/// What small data may make bincode reserve. Bytes. Data of another type than expected can
/// announce any length; this bounds what is reserved for it.
const SMALL_BINCODE_LIMIT: usize = 64 * 1024 * 1024;

/// As [`SMALL_BINCODE_LIMIT`], for data over half of it. Bytes.
const LARGE_BINCODE_LIMIT: usize = 64 * 1024 * 1024 * 1024;

/// How the data of a [`TransportableObject`] is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// A Python pickle made by cloudpickle; what every Covalent SDK writes.
    #[default]
    Cloudpickle,
    /// Rust to Rust.
    Bincode,
    /// Plain data that every language reads.
    Json,
    /// Numbers in the layout of [`crate::array`].
    Array,
}

impl Encoding {
    /// As it is written in headers.
    ///
    /// ```
    /// use cov_core::transportable::Encoding;
    /// assert_eq!(Encoding::default().as_str(), "cloudpickle");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cloudpickle => "cloudpickle",
            Self::Bincode => "bincode",
            Self::Json => "json",
            Self::Array => "array",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an archive says of its object. Unknown members are ignored and not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the Python that pickled the object, such as `3.11.7`.
    #[serde(default)]
    pub py_version: String,
    /// Version of the cloudpickle that did it.
    #[serde(default)]
    pub cloudpickle_version: String,
    /// The object's name and docstring.
    #[serde(default)]
    pub attrs: Attributes,
    /// How the data is encoded. Left out for cloudpickle, so that archives stay as the SDK
    /// writes them.
    #[serde(default, skip_serializing_if = "is_cloudpickle")]
    pub encoding: Encoding,
}

/// The object's name and docstring in a [`Header`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Attributes {
    /// `__doc__` of the object, if it has one.
    #[serde(default)]
    pub doc: Option<String>,
    /// `__name__` of the object, or the empty string.
    #[serde(default)]
    pub name: String,
}

fn is_cloudpickle(encoding: &Encoding) -> bool {
    *encoding == Encoding::Cloudpickle
}

/// Why bytes are no archive, or a value cannot be taken from one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Fewer bytes than the two offsets need.
    #[error("a transportable object has at least {PREFIX_BYTES} bytes, this one has {length}")]
    TooShort {
        /// Bytes that were given.
        length: u64,
    },
    /// The offsets do not lie in order within the archive.
    #[error("offsets {string_offset} and {data_offset} do not fit an archive of {length} bytes")]
    Offsets {
        /// Where the object string is said to begin.
        string_offset: u64,
        /// Where the data is said to begin.
        data_offset: u64,
        /// Length of the archive in bytes.
        length: u64,
    },
    /// The header is longer than [`HEADER_BYTES_MAX`].
    #[error("the header has {length} bytes; at most {HEADER_BYTES_MAX} are read")]
    HeaderTooLong {
        /// Its length in bytes.
        length: u64,
    },
    /// The header is no JSON object of the known shape.
    #[error("the header is malformed")]
    Header(#[source] serde_json::Error),
    /// The object string is no UTF-8.
    #[error("the object string is no UTF-8")]
    ObjectString(#[source] std::str::Utf8Error),
    /// The data is no standard base64.
    #[error("the data is no base64")]
    Base64(#[source] base64::DecodeError),
    /// The value was asked for in an encoding that the data does not have.
    #[error("the data is encoded as {found}; it cannot be read as {wanted}")]
    Encoding {
        /// What the data is.
        found: Encoding,
        /// What was asked for.
        wanted: Encoding,
    },
    /// The data does not decode to the type that was asked for, or the value does not encode.
    #[error("the data is no JSON of the expected type")]
    Json(#[source] serde_json::Error),
    /// As `Json`, for pickled data: it is no plain data, or not of the expected type.
    #[error("the pickle holds no plain data of the expected type")]
    Pickle(#[source] pickle::Error),
    /// As `Json`, for bincode data.
    #[error("the data is no bincode of the expected type")]
    BincodeDecode(#[source] bincode::error::DecodeError),
    /// The data begins with bincode of the expected type and goes on.
    #[error("the data is no bincode of the expected type: {bytes} bytes are left over")]
    LeftOver {
        /// How much follows. Bytes.
        bytes: usize,
    },
    /// The data is no array, or one of other dimensions or numbers.
    #[error("the data is no array of the expected type")]
    Array(#[source] array::Error),
    /// The value cannot be encoded as bincode.
    #[error("the value cannot be encoded as bincode")]
    BincodeEncode(#[source] bincode::error::EncodeError),
}

/// Where the three parts of an archive lie. Computed from its first 16 bytes and its length, so
/// that one part of a large archive can be read without the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    string_offset: u64,
    data_offset: u64,
    length: u64,
}

impl Layout {
    /// Reads the layout of an archive of `length` bytes that begins with `prefix`.
    ///
    /// # Errors
    /// Too few bytes, offsets out of order or beyond the end, or an overlong header.
    pub fn read(prefix: &[u8], length: u64) -> Result<Self, Error> {
        let (Some(first), Some(second)) = (read_u64(prefix, 0), read_u64(prefix, 8)) else {
            return Err(Error::TooShort { length });
        };
        let layout = Self { string_offset: first, data_offset: second, length };
        let in_order = first >= PREFIX_BYTES as u64 && second >= first && length >= second;
        if !in_order {
            return Err(Error::Offsets { string_offset: first, data_offset: second, length });
        }
        let header = first - PREFIX_BYTES as u64;
        if header > HEADER_BYTES_MAX as u64 {
            return Err(Error::HeaderTooLong { length: header });
        }
        Ok(layout)
    }

    /// Where the header lies.
    #[must_use]
    pub fn header(&self) -> Range<u64> {
        PREFIX_BYTES as u64..self.string_offset
    }

    /// Where the object string lies.
    #[must_use]
    pub fn object_string(&self) -> Range<u64> {
        self.string_offset..self.data_offset
    }

    /// Where the base64 data lies.
    #[must_use]
    pub fn data(&self) -> Range<u64> {
        self.data_offset..self.length
    }
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    let raw: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_be_bytes(raw))
}

/// A value as bytes, with its encoding, a printed form, and what is known of its origin.
///
/// ```
/// use cov_core::transportable::TransportableObject;
/// let object = TransportableObject::from_json(&vec![1, 2, 3])?;
/// let archive = object.to_archive();
/// let read = TransportableObject::from_archive(&archive)?;
/// assert_eq!(read.to_json::<Vec<i64>>()?, [1, 2, 3]);
/// # Ok::<(), cov_core::transportable::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportableObject {
    /// What the archive says of the object.
    pub header: Header,
    /// The printed form, `str(object)` in Python.
    pub object_string: String,
    /// The encoded value, as said by the header's encoding.
    pub data: Bytes,
}

/// In records that are stored as text: the base64 of the archive.
impl Serialize for TransportableObject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.to_archive()))
    }
}

impl<'de> Deserialize<'de> for TransportableObject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let archive = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Self::from_archive(&archive).map_err(serde::de::Error::custom)
    }
}

impl TransportableObject {
    /// Reads an archive.
    ///
    /// # Errors
    /// Anything that is not the documented layout; see [`enum@Error`].
    pub fn from_archive(archive: &[u8]) -> Result<Self, Error> {
        let layout = Layout::read(archive, archive.len() as u64)?;
        let part = |range: Range<u64>| part_of(archive, range);
        let header = serde_json::from_slice(part(layout.header())).map_err(Error::Header)?;
        let text = std::str::from_utf8(part(layout.object_string()));
        let data = STANDARD.decode(part(layout.data())).map_err(Error::Base64)?;
        Ok(Self {
            header,
            object_string: text.map_err(Error::ObjectString)?.to_owned(),
            data: data.into(),
        })
    }

    /// Writes the archive: the layout that the SDK reads.
    #[must_use]
    pub fn to_archive(&self) -> Vec<u8> {
        let header = python_json(&self.header);
        let string_offset = PREFIX_BYTES + header.len();
        let data_offset = string_offset + self.object_string.len();
        let base64_bytes = self.data.len().div_ceil(3) * 4;
        let mut archive = Vec::with_capacity(data_offset + base64_bytes);
        archive.extend_from_slice(&(string_offset as u64).to_be_bytes());
        archive.extend_from_slice(&(data_offset as u64).to_be_bytes());
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(self.object_string.as_bytes());
        archive.extend_from_slice(STANDARD.encode(&self.data).as_bytes());
        archive
    }

    /// Encodes plain data as JSON.
    ///
    /// # Errors
    /// The value has no JSON form, such as a number that is infinite, or a map whose keys are no
    /// strings.
    pub fn from_json<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        let text = crate::json::to_vec(value).map_err(Error::Json)?;
        let printed = String::from_utf8_lossy(&text).into_owned();
        Ok(Self::encoded(Encoding::Json, printed, text))
    }

    /// Encodes a value for another Rust program; `printed` is what people see of it.
    ///
    /// # Errors
    /// The value has no bincode form.
    pub fn from_bincode<T: Serialize>(value: &T, printed: String) -> Result<Self, Error> {
        let data = bincode::serde::encode_to_vec(value, bincode::config::standard())
            .map_err(Error::BincodeEncode)?;
        Ok(Self::encoded(Encoding::Bincode, printed, data))
    }

    /// Decodes JSON data.
    ///
    /// # Errors
    /// The data is encoded otherwise, or is no `T`.
    pub fn to_json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.expect_encoding(Encoding::Json)?;
        serde_json::from_slice(&self.data).map_err(Error::Json)
    }

    /// Decodes bincode data.
    ///
    /// # Errors
    /// The data is encoded otherwise, or is no `T`.
    pub fn to_bincode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.expect_encoding(Encoding::Bincode)?;
        let decoded = match self.data.len() <= SMALL_BINCODE_LIMIT / 2 {
            true => {
                let limited = bincode::config::standard().with_limit::<SMALL_BINCODE_LIMIT>();
                bincode::serde::decode_from_slice(&self.data, limited)
            }
            false => {
                let limited = bincode::config::standard().with_limit::<LARGE_BINCODE_LIMIT>();
                bincode::serde::decode_from_slice(&self.data, limited)
            }
        };
        match decoded {
            Ok((value, used)) if used == self.data.len() => Ok(value),
            Ok((_, used)) => Err(Error::LeftOver { bytes: self.data.len() - used }),
            Err(error) => Err(Error::BincodeDecode(error)),
        }
    }

    /// Decodes the data, whatever its encoding is: JSON, bincode, an array, or a pickle of plain data (no
    /// value, truth values, numbers, texts, bytes, lists, tuples, sets, dictionaries). Runs
    /// nothing of what a pickle says; one that builds objects is refused.
    ///
    /// # Errors
    /// The data is no `T`, or a pickle of something else than plain data.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        match self.header.encoding {
            Encoding::Json => self.to_json(),
            Encoding::Bincode => self.to_bincode(),
            Encoding::Array => {
                let array = Array::from_npy(&self.data);
                array.and_then(|array| array.read()).map_err(Error::Array)
            }
            Encoding::Cloudpickle => {
                let pickle = Pickle::from_slice(&self.data);
                pickle.and_then(|pickle| pickle.read()).map_err(Error::Pickle)
            }
        }
    }

    fn expect_encoding(&self, wanted: Encoding) -> Result<(), Error> {
        let found = self.header.encoding;
        if found == wanted { Ok(()) } else { Err(Error::Encoding { found, wanted }) }
    }

    fn encoded(encoding: Encoding, object_string: String, data: Vec<u8>) -> Self {
        let header = Header {
            py_version: String::new(),
            cloudpickle_version: String::new(),
            attrs: Attributes::default(),
            encoding,
        };
        Self { header, object_string, data: data.into() }
    }
}

fn part_of(archive: &[u8], range: Range<u64>) -> &[u8] {
    let bounds = (usize::try_from(range.start), usize::try_from(range.end));
    let (Ok(start), Ok(end)) = bounds else { return &[] };
    archive.get(start..end).unwrap_or(&[])
}

/// The header as Python's `json.dumps` writes it: a space after `,` and `:`, non-ASCII escaped.
fn python_json(header: &Header) -> String {
    let doc = header.attrs.doc.as_deref().map_or(Cow::Borrowed("null"), |doc| quoted(doc).into());
    let encoding = match header.encoding {
        Encoding::Cloudpickle => String::new(),
        other => format!(r#", "encoding": "{other}""#),
    };
    format!(
        r#"{{"py_version": {}, "cloudpickle_version": {}, "attrs": {{"doc": {doc}, "name": {}}}{encoding}}}"#,
        quoted(&header.py_version),
        quoted(&header.cloudpickle_version),
        quoted(&header.attrs.name),
    )
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
