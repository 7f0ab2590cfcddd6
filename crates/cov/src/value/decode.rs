//! From archives to the Rust value that a task takes. Each value is read in the encoding that it
//! came in, so that the parts of one argument may come from different languages.

use std::any::type_name;
use std::fmt::Display;
use std::marker::PhantomData;
use std::slice;

use bincode::config::{self, Config};
use cov_core::array::Array;
use cov_core::pickle::Pickle;
use cov_core::transportable::Encoding;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};

use super::{Leaf, NoCrossing};
use crate::shape::Shape;

/// What a small datum may make the decoder reserve. Bytes. A datum of another type than expected
/// can announce any length; this bounds what is reserved for it.
const SMALL_LIMIT: usize = 64 * 1024 * 1024;

/// As [`SMALL_LIMIT`], for data over half of it. Bytes.
const LARGE_LIMIT: usize = 64 * 1024 * 1024 * 1024;

/// Takes as many values from `leaves` as the shape needs and makes a `T` of them.
///
/// # Errors
/// A sentence that names the node whose value did not fit, its encoding and the type.
pub(crate) fn decode<'a, T: DeserializeOwned>(
    shape: &'a Shape,
    leaves: &mut slice::Iter<'a, Leaf>,
) -> Result<T, NoCrossing> {
    Part { shape, leaves }.seed(PhantomData::<T>)
}

/// A shape and the values that fill it.
struct Part<'a, 'l> {
    shape: &'a Shape,
    leaves: &'l mut slice::Iter<'a, Leaf>,
}

impl<'a> Part<'a, '_> {
    fn seed<S: DeserializeSeed<'a>>(self, seed: S) -> Result<S::Value, NoCrossing> {
        match self.shape {
            Shape::Value => decode_leaf(next(self.leaves)?, seed),
            _ => seed.deserialize(self),
        }
    }
}

fn next<'a>(leaves: &mut slice::Iter<'a, Leaf>) -> Result<&'a Leaf, NoCrossing> {
    leaves.next().ok_or_else(|| NoCrossing("a value is missing".to_owned()))
}

fn decode_leaf<'a, S: DeserializeSeed<'a>>(
    leaf: &'a Leaf,
    seed: S,
) -> Result<S::Value, NoCrossing> {
    let data = &leaf.object.data[..];
    match leaf.object.header.encoding {
        Encoding::Json => {
            let mut reader = serde_json::Deserializer::from_slice(data);
            let value = seed.deserialize(&mut reader);
            let value = value.and_then(|value| reader.end().map(|()| value));
            value.map_err(|error| refused::<S>(leaf, &error))
        }
        Encoding::Cloudpickle => {
            let value = Pickle::from_slice(data);
            let value = value.and_then(|pickle| seed.deserialize(pickle.reader()));
            value.map_err(|error| refused::<S>(leaf, &error))
        }
        Encoding::Array => {
            let value = Array::from_npy(data).and_then(|array| seed.deserialize(&array));
            value.map_err(|error| refused::<S>(leaf, &error))
        }
        Encoding::Bincode if data.len() <= SMALL_LIMIT / 2 => {
            bincode_leaf(leaf, seed, config::standard().with_limit::<SMALL_LIMIT>())
        }
        Encoding::Bincode => {
            bincode_leaf(leaf, seed, config::standard().with_limit::<LARGE_LIMIT>())
        }
    }
}

fn bincode_leaf<'a, S: DeserializeSeed<'a>, C: Config>(
    leaf: &'a Leaf,
    seed: S,
    configuration: C,
) -> Result<S::Value, NoCrossing> {
    let data = &leaf.object.data[..];
    match bincode::serde::seed_decode_from_slice(seed, data, configuration) {
        Ok((value, used)) if used == data.len() => Ok(value),
        Ok((_, used)) => {
            Err(refused::<S>(leaf, &format!("{} bytes are left over", data.len() - used)))
        }
        Err(error) => Err(refused::<S>(leaf, &error)),
    }
}

fn refused<'a, S: DeserializeSeed<'a>>(leaf: &Leaf, reason: &dyn Display) -> NoCrossing {
    let header = &leaf.object.header;
    let was = match (header.encoding, header.attrs.name.as_str()) {
        (Encoding::Bincode, name) if !name.is_empty() => format!(" from a `{name}`"),
        _ => String::new(),
    };
    let advice = match header.encoding {
        Encoding::Bincode => {
            "; a type that must see its data to know its form needs `output = \"json\"`"
        }
        Encoding::Cloudpickle | Encoding::Json | Encoding::Array => "",
    };
    NoCrossing(format!(
        "the output of node {}, encoded as {}{was}, is no `{}`: {reason}{advice}",
        leaf.node,
        header.encoding,
        type_name::<S::Value>(),
    ))
}

impl<'a> Deserializer<'a> for Part<'a, '_> {
    type Error = NoCrossing;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, NoCrossing> {
        let Part { shape, leaves } = self;
        match shape {
            // The visitor alone knows what to make of one value; its seed was asked before.
            Shape::Value => Err(NoCrossing::custom("a value stands where a collection must")),
            Shape::Unit => visitor.visit_unit(),
            Shape::Absent => visitor.visit_none(),
            Shape::Present(inner) => {
                visitor.visit_some(Inner { part: Part { shape: inner, leaves } })
            }
            Shape::Values(count) => {
                visitor.visit_seq(Items { items: Same::Values(*count as usize), leaves })
            }
            Shape::List(items) | Shape::Tuple(items) => {
                visitor.visit_seq(Items { items: Same::Shapes(items.iter()), leaves })
            }
            Shape::Map(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), value: None, leaves })
            }
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, NoCrossing> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// What stands in a present option: a shape that may be one value.
struct Inner<'a, 'l> {
    part: Part<'a, 'l>,
}

/// For a shape that is one value, the value's own decoder is asked, in the method that the type
/// chose.
macro_rules! of_inner {
    ($($method:ident($($argument:ident: $kind:ty),*);)*) => {$(
        fn $method<V: Visitor<'a>>(
            self,
            $($argument: $kind,)*
            visitor: V,
        ) -> Result<V::Value, NoCrossing> {
            struct Ask<V> {
                $($argument: $kind,)*
                visitor: V,
            }
            impl<'a, V: Visitor<'a>> DeserializeSeed<'a> for Ask<V> {
                type Value = V::Value;
                fn deserialize<D: Deserializer<'a>>(self, reader: D) -> Result<V::Value, D::Error> {
                    reader.$method($(self.$argument,)* self.visitor)
                }
            }
            self.part.seed(Ask { $($argument,)* visitor })
        }
    )*};
}

impl<'a> Deserializer<'a> for Inner<'a, '_> {
    type Error = NoCrossing;

    of_inner! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(length: usize);
        deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }
}

/// The shapes of a list: one for each item, or so many single values.
enum Same<'a> {
    Values(usize),
    Shapes(slice::Iter<'a, Shape>),
}

struct Items<'a, 'l> {
    items: Same<'a>,
    leaves: &'l mut slice::Iter<'a, Leaf>,
}

impl<'a> SeqAccess<'a> for Items<'a, '_> {
    type Error = NoCrossing;

    fn next_element_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, NoCrossing> {
        let shape = match &mut self.items {
            Same::Values(0) => return Ok(None),
            Same::Values(left) => {
                *left -= 1;
                &Shape::Value
            }
            Same::Shapes(shapes) => match shapes.next() {
                Some(shape) => shape,
                None => return Ok(None),
            },
        };
        Part { shape, leaves: self.leaves }.seed(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        match &self.items {
            Same::Values(left) => Some(*left),
            Same::Shapes(shapes) => Some(shapes.len()),
        }
    }
}

struct Entries<'a, 'l> {
    entries: slice::Iter<'a, (Shape, Shape)>,
    value: Option<&'a Shape>,
    leaves: &'l mut slice::Iter<'a, Leaf>,
}

impl<'a> MapAccess<'a> for Entries<'a, '_> {
    type Error = NoCrossing;

    fn next_key_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, NoCrossing> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        Part { shape: key, leaves: self.leaves }.seed(seed).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, NoCrossing> {
        let shape = self.value.take().ok_or_else(|| NoCrossing::custom("a map has no value"))?;
        Part { shape, leaves: self.leaves }.seed(seed)
    }
}
