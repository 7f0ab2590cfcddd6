//! `TransportableObject`: a value on its way between programs, as bytes whose encoding is named.
//! Reads and writes Covalent's archive layout byte for byte. Never unpickles anything.
//!
//! ```text
//! 0             8           16               string_offset       data_offset        end
//! | string_offset | data_offset | header (JSON)  | object string     | data           |
//! ```
//!
//! The data is in base64, as Covalent has it, unless the header says that it is `"binary": true`:
//! then it stands there as it is. What Covalent cannot read in any case is written in binary.
//!
//! Both offsets are unsigned 64-bit big-endian. They come from outside, so every one is checked
//! before it is used.

use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::array::{self, Array};
use crate::pickle::{self, Pickle};

mod layout;

pub use layout::Layout;
use layout::{PREFIX_BYTES, python_json};

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

impl Encoding {
    /// The form in which data of this encoding stands in archives that are written here.
    ///
    /// ```
    /// use cov_core::transportable::{Encoding, Form};
    /// assert_eq!(Encoding::Cloudpickle.form(), Form::Base64);
    /// assert_eq!(Encoding::Json.form(), Form::Binary);
    /// ```
    #[must_use]
    pub const fn form(self) -> Form {
        match self {
            Self::Cloudpickle => Form::Base64,
            Self::Bincode | Self::Json | Self::Array => Form::Binary,
        }
    }
}

/// In which form the data of an archive stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// In base64: Covalent's.
    Base64,
    /// As it is: a third shorter to store, send and hash, and nothing to decode.
    Binary,
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

impl Header {
    /// Reads the header of an archive, and with it the form of its data.
    ///
    /// # Errors
    /// It is no JSON object of the known shape.
    ///
    /// ```
    /// use cov_core::transportable::{Form, Header};
    /// let (_, form) = Header::read(br#"{"encoding": "json", "binary": true}"#)?;
    /// assert_eq!(form, Form::Binary);
    /// # Ok::<(), cov_core::transportable::Error>(())
    /// ```
    pub fn read(bytes: &[u8]) -> Result<(Self, Form), Error> {
        #[derive(Deserialize)]
        struct Written {
            #[serde(default)]
            py_version: String,
            #[serde(default)]
            cloudpickle_version: String,
            #[serde(default)]
            attrs: Attributes,
            #[serde(default)]
            encoding: Encoding,
            #[serde(default)]
            binary: bool,
        }
        let Written { py_version, cloudpickle_version, attrs, encoding, binary } =
            serde_json::from_slice(bytes).map_err(Error::Header)?;
        let form = if binary { Form::Binary } else { Form::Base64 };
        Ok((Self { py_version, cloudpickle_version, attrs, encoding }, form))
    }
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
        Self::read(archive, Bytes::copy_from_slice)
    }

    /// As [`TransportableObject::from_archive`], without a copy of the data if it is in binary.
    ///
    /// # Errors
    /// As [`TransportableObject::from_archive`].
    ///
    /// ```
    /// use cov_core::transportable::TransportableObject;
    /// let archive = TransportableObject::from_json(&7)?.to_archive();
    /// let read = TransportableObject::from_bytes(&archive.into())?;
    /// assert_eq!(read.to_json::<u8>()?, 7);
    /// # Ok::<(), cov_core::transportable::Error>(())
    /// ```
    pub fn from_bytes(archive: &Bytes) -> Result<Self, Error> {
        Self::read(archive, |data| archive.slice_ref(data))
    }

    /// Reads an archive, whose binary data `taken` takes over.
    fn read(archive: &[u8], taken: impl FnOnce(&[u8]) -> Bytes) -> Result<Self, Error> {
        let layout = Layout::read(archive, archive.len() as u64)?;
        let part = |range: Range<u64>| part_of(archive, range);
        let (header, form) = Header::read(part(layout.header()))?;
        let text = std::str::from_utf8(part(layout.object_string()));
        let object_string = text.map_err(Error::ObjectString)?.to_owned();
        let data = match form {
            Form::Base64 => STANDARD.decode(part(layout.data())).map_err(Error::Base64)?.into(),
            Form::Binary => taken(part(layout.data())),
        };
        Ok(Self { header, object_string, data })
    }

    /// Writes the archive: the layout that the SDK reads, if it reads the encoding.
    #[must_use]
    pub fn to_archive(&self) -> Vec<u8> {
        match self.header.encoding.form() {
            Form::Base64 => {
                let mut archive = self.front(self.data.len().div_ceil(3) * 4);
                archive.extend_from_slice(STANDARD.encode(&self.data).as_bytes());
                archive
            }
            Form::Binary => {
                let mut archive = self.front(self.data.len());
                archive.extend_from_slice(&self.data);
                archive
            }
        }
    }

    /// The archive in two parts, which need not be joined to be written somewhere. Copies no data
    /// that is in binary.
    ///
    /// ```
    /// use cov_core::transportable::TransportableObject;
    /// let object = TransportableObject::from_json(&7)?;
    /// assert_eq!(object.to_parts().concat(), object.to_archive());
    /// # Ok::<(), cov_core::transportable::Error>(())
    /// ```
    #[must_use]
    pub fn to_parts(&self) -> [Bytes; 2] {
        let data = match self.header.encoding.form() {
            Form::Base64 => STANDARD.encode(&self.data).into(),
            Form::Binary => self.data.clone(),
        };
        [self.front(0).into(), data]
    }

    /// What stands in front of the data, with room for so many bytes behind it.
    fn front(&self, room: usize) -> Vec<u8> {
        let header = python_json(&self.header);
        let string_offset = PREFIX_BYTES + header.len();
        let data_offset = string_offset + self.object_string.len();
        let mut archive = Vec::with_capacity(data_offset + room);
        archive.extend_from_slice(&(string_offset as u64).to_be_bytes());
        archive.extend_from_slice(&(data_offset as u64).to_be_bytes());
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(self.object_string.as_bytes());
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

#[cfg(test)]
mod tests;
