//! Arrays as serde sees them: nested lists of numbers, to read from and to write on.

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq as _, Serializer};

use super::{Array, Error, Number};

/// Calls `$visit` with the number in these bytes; bytes that are no whole number are told.
macro_rules! with_number {
    ($array:expr, $bytes:expr, $f:ident) => {
        match $array.number {
            Number::I8 => $f!(i8, visit_i8, serialize_i8, $bytes),
            Number::I16 => $f!(i16, visit_i16, serialize_i16, $bytes),
            Number::I32 => $f!(i32, visit_i32, serialize_i32, $bytes),
            Number::I64 => $f!(i64, visit_i64, serialize_i64, $bytes),
            Number::U8 => $f!(u8, visit_u8, serialize_u8, $bytes),
            Number::U16 => $f!(u16, visit_u16, serialize_u16, $bytes),
            Number::U32 => $f!(u32, visit_u32, serialize_u32, $bytes),
            Number::U64 => $f!(u64, visit_u64, serialize_u64, $bytes),
            Number::F32 => $f!(f32, visit_f32, serialize_f32, $bytes),
            Number::F64 => $f!(f64, visit_f64, serialize_f64, $bytes),
        }
    };
}

impl<'de> Deserializer<'de> for &Array<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        macro_rules! visit {
            ($kind:ty, $visit:ident, $serialize:ident, $bytes:expr) => {
                match $bytes.try_into() {
                    Ok(bytes) => visitor.$visit(<$kind>::from_le_bytes(bytes)),
                    Err(_) => Err(Error::Mismatch("the array is cut off".to_owned())),
                }
            };
        }
        match self.items() {
            Some(items) => visitor.visit_seq(Items { items }),
            None => with_number!(self, self.data, visit),
        }
    }

    /// A buffer of bytes is what it is.
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (self.number, self.shape.len()) {
            (Number::U8, 1) => visitor.visit_bytes(self.data),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Items<I> {
    items: I,
}

impl<'de, 'a, I: ExactSizeIterator<Item = Array<'a>>> SeqAccess<'de> for Items<I> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        self.items.next().map(|item| seed.deserialize(&item)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

impl Serialize for Array<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        macro_rules! write {
            ($kind:ty, $visit:ident, $serialize:ident, $bytes:expr) => {
                match $bytes.try_into() {
                    Ok(bytes) => serializer.$serialize(<$kind>::from_le_bytes(bytes)),
                    Err(_) => Err(serde::ser::Error::custom("the array is cut off")),
                }
            };
        }
        let Some(items) = self.items() else { return with_number!(self, self.data, write) };
        let mut list = serializer.serialize_seq(Some(items.len()))?;
        for item in items {
            list.serialize_element(&item)?;
        }
        list.end()
    }
}
