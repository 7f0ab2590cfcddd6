//! The parts of a pickle as JSON, without knowing any type.

use serde::ser::{Error as _, Serialize, SerializeMap as _, Serializer};

use super::{Error, Item, Pickle, Reader};

pub(super) fn to_json(pickle: &Pickle<'_>) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let fault = std::cell::RefCell::new(None);
    let part = Part { reader: pickle.reader(), fault: &fault };
    match part.serialize(&mut serde_json::Serializer::new(&mut out)) {
        Ok(()) => Ok(out),
        Err(error) => {
            let other = || Error::NoJson { reason: error.to_string() };
            Err(fault.into_inner().unwrap_or_else(other))
        }
    }
}

/// A part, and where it leaves an error that JSON's own could not carry.
struct Part<'p, 'de, 'f> {
    reader: Reader<'p, 'de>,
    fault: &'f std::cell::RefCell<Option<Error>>,
}

impl<'p, 'de> Part<'p, 'de, '_> {
    fn inner(&self, id: super::Id) -> Self {
        Self { reader: self.reader.inner(id), fault: self.fault }
    }

    fn refuse<E: serde::ser::Error>(&self, error: Error) -> E {
        let text = error.to_string();
        self.fault.replace(Some(error));
        E::custom(text)
    }
}

impl Serialize for Part<'_, '_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let item = self.reader.item().map_err(|error| self.refuse(error))?;
        match item {
            Item::None => serializer.serialize_unit(),
            Item::Bool(value) => serializer.serialize_bool(*value),
            Item::Int(value) => serializer.serialize_i128(*value),
            Item::Long(bytes) => Err(self.refuse(Error::Integer { bytes: *bytes })),
            Item::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            Item::Float(value) => Err(S::Error::custom(format_args!("it holds `{value}`"))),
            Item::Text(text) => serializer.serialize_str(text),
            Item::Bytes(bytes) => serializer.collect_seq(*bytes),
            Item::List(items) => {
                self.reader.check_depth().map_err(|error| self.refuse(error))?;
                serializer.collect_seq(items.iter().map(|id| self.inner(*id)))
            }
            Item::Dict(entries) => {
                self.reader.check_depth().map_err(|error| self.refuse(error))?;
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(&self.inner(*key), &self.inner(*value))?;
                }
                map.end()
            }
            Item::Name(name) | Item::Object(name) => {
                Err(self.refuse(Error::Object { type_name: name.to_string() }))
            }
        }
    }
}
