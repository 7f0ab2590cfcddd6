//! The parts of a pickle as serde reads them.

use std::slice;

use serde::de::value::SeqDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::{DEPTH_MAX, Error, Id, Item, Pickle};

/// One part of a pickle, to be read.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'p, 'de> {
    pickle: &'p Pickle<'de>,
    id: Id,
    depth: u32,
}

impl<'p, 'de> Reader<'p, 'de> {
    pub(super) fn new(pickle: &'p Pickle<'de>, id: Id) -> Self {
        Self { pickle, id, depth: 0 }
    }

    pub(super) fn item(&self) -> Result<&'p Item<'de>, Error> {
        let item = self.pickle.item(self.id);
        self.pickle.visit(item).map(|()| item)
    }

    pub(super) fn inner(&self, id: Id) -> Self {
        Self { pickle: self.pickle, id, depth: self.depth + 1 }
    }

    pub(super) fn check_depth(&self) -> Result<(), Error> {
        if self.depth < DEPTH_MAX { Ok(()) } else { Err(Error::TooDeep) }
    }

    fn list<V: Visitor<'de>>(self, items: &'p [Id], visitor: V) -> Result<V::Value, Error> {
        self.check_depth()?;
        visitor.visit_seq(Items { reader: self, items: items.iter() })
    }
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.item()? {
            Item::None => visitor.visit_unit(),
            Item::Bool(value) => visitor.visit_bool(*value),
            Item::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_i64(value),
                (Err(_), Ok(value)) => visitor.visit_u64(value),
                (Err(_), Err(_)) => visitor.visit_i128(*value),
            },
            Item::Long(bytes) => Err(Error::Integer { bytes: *bytes }),
            Item::Float(value) => visitor.visit_f64(*value),
            Item::Text(text) => visitor.visit_borrowed_str(text),
            Item::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Item::List(items) => self.list(items, visitor),
            Item::Dict(entries) => {
                self.check_depth()?;
                visitor.visit_map(Entries { reader: self, entries: entries.iter(), value: None })
            }
            Item::Name(name) | Item::Object(name) => {
                Err(Error::Object { type_name: name.to_string() })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.item()? {
            Item::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.item()? {
            #[expect(clippy::cast_precision_loss, reason = "a float holds what it can of it")]
            Item::Int(value) => visitor.visit_f64(*value as f64),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.item()? {
            Item::Bytes(bytes) => {
                let mut items = SeqDeserializer::new(bytes.iter().copied());
                let read = visitor.visit_seq(&mut items)?;
                items.end().map(|()| read)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.item()? {
            Item::Dict(entries) if entries.len() == 1 => {
                self.check_depth()?;
                let (name, content) = entries.first().copied().unwrap_or_default();
                let content = Some(self.inner(content));
                visitor.visit_enum(Variant { name: self.inner(name), content })
            }
            Item::Text(_) => visitor.visit_enum(Variant { name: self, content: None }),
            _ => Err(Error::custom("a variant is a text, or a dict with one entry")),
        }
    }

    /// Objects are passed over, too.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char str string bytes byte_buf unit
        unit_struct map struct identifier
    }
}

struct Items<'p, 'de> {
    reader: Reader<'p, 'de>,
    items: slice::Iter<'p, Id>,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        self.items.next().map(|id| seed.deserialize(self.reader.inner(*id))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'p, 'de> {
    reader: Reader<'p, 'de>,
    entries: slice::Iter<'p, (Id, Id)>,
    value: Option<Id>,
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(*value);
        seed.deserialize(self.reader.inner(*key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let value = self.value.take().ok_or_else(|| Error::custom("a key was not read"))?;
        seed.deserialize(self.reader.inner(value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

struct Variant<'p, 'de> {
    name: Reader<'p, 'de>,
    content: Option<Reader<'p, 'de>>,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        seed.deserialize(self.name).map(|name| (name, self))
    }
}

impl<'p, 'de> Variant<'p, 'de> {
    fn content(self) -> Result<Reader<'p, 'de>, Error> {
        self.content.ok_or_else(|| Error::custom("the variant has no content"))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            None => Ok(()),
            Some(content) => match content.item()? {
                Item::None => Ok(()),
                _ => Err(Error::custom("the variant has a content")),
            },
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.content()?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.content()?.deserialize_any(visitor)
    }
}

impl<'de> IntoDeserializer<'de, Error> for Reader<'_, 'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
