//! From a Rust value to the archive in which it travels.

use std::any::type_name;

use cov_core::transportable::{Attributes, Encoding, Header, TransportableObject};
use serde::Serialize;

use super::{NoCrossing, preview};

/// Encodes a value.
///
/// # Errors
/// It has no such form, such as a map with keys that are no strings in JSON.
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
    encoding: Encoding,
) -> Result<TransportableObject, NoCrossing> {
    let refused = |reason: &dyn std::fmt::Display| {
        let type_name = type_name::<T>();
        NoCrossing(format!(
            "a value of type `{type_name}` cannot be encoded as {encoding}: {reason}"
        ))
    };
    let data = match encoding {
        Encoding::Bincode => bincode::serde::encode_to_vec(value, bincode::config::standard())
            .map_err(|e| refused(&e))?,
        Encoding::Json => cov_core::json::to_vec(value).map_err(|e| refused(&e))?,
        Encoding::Array => cov_core::array::to_npy(value).map_err(|e| refused(&e))?,
        Encoding::Cloudpickle => return Err(refused(&"only Python writes it")),
    };
    let mut object = archive(encoding, preview(value), data);
    if encoding == Encoding::Bincode {
        // Bincode says nothing of what it holds; whoever cannot read it can at least name it.
        object.header.attrs.name = type_name::<T>().to_owned();
    }
    Ok(object)
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
