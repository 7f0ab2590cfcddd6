//! From a Rust value to the archive in which it travels.

use std::any::type_name;

use cov_core::transportable::{Attributes, Encoding, Header, TransportableObject};
use serde::Serialize;

use super::{NoCrossing, encoding_name, preview};

/// Encodes a value.
///
/// # Errors
/// It has no such form, such as a map with keys that are no strings in JSON.
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
    encoding: Encoding,
) -> Result<TransportableObject, NoCrossing> {
    let refused = |reason: &dyn std::fmt::Display| {
        let (type_name, encoding) = (type_name::<T>(), encoding_name(encoding));
        NoCrossing(format!(
            "a value of type `{type_name}` cannot be encoded as {encoding}: {reason}"
        ))
    };
    let data = match encoding {
        Encoding::Bincode => bincode::serde::encode_to_vec(value, bincode::config::standard())
            .map_err(|e| refused(&e))?,
        Encoding::Json => serde_json::to_vec(value).map_err(|e| refused(&e))?,
        Encoding::Array => cov_core::array::to_npy(value).map_err(|e| refused(&e))?,
        Encoding::Cloudpickle => return Err(refused(&"only Python writes it")),
    };
    Ok(archive(encoding, preview(value), data))
}

/// An object with this data; `printed` is what people see of it.
pub(crate) fn archive(encoding: Encoding, printed: String, data: Vec<u8>) -> TransportableObject {
    let header = Header {
        py_version: String::new(),
        cloudpickle_version: String::new(),
        attrs: Attributes::default(),
        encoding,
    };
    TransportableObject { header, object_string: printed, data: data.into() }
}
