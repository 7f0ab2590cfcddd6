//! Plain data of any language, as it comes out of an encoded value, and as people read it. Knows
//! no encoding.

use std::fmt::{self, Write as _};

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap as _, SerializeSeq as _, Serializer};
use serde::{Deserialize, Serialize};
use unicode_width::UnicodeWidthStr as _;

/// Plain data.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plain {
    Nil,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Plain>),
    Map(Vec<(Plain, Plain)>),
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Plain;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain data")
    }

    fn visit_unit<E>(self) -> Result<Plain, E> {
        Ok(Plain::Nil)
    }

    fn visit_none<E>(self) -> Result<Plain, E> {
        Ok(Plain::Nil)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Plain, D::Error> {
        Plain::deserialize(inner)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Plain, E> {
        Ok(Plain::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Plain, E> {
        Ok(Plain::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Plain, E> {
        Ok(Plain::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Plain, E> {
        Ok(Plain::Int(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Plain, E> {
        Ok(Plain::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Plain, E> {
        Ok(Plain::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Plain, E> {
        Ok(Plain::Bytes(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Plain, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Plain::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Plain, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Plain::Map(map))
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

/// As JSON: bytes are an object with their hexadecimal digits, numbers that JSON lacks are texts,
/// maps whose keys are no texts are lists of pairs.
impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i128(*value),
            Self::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            Self::Float(value) => serializer.collect_str(value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Bytes(value) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("hex", &hex(value))?;
                map.end()
            }
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) if entries.iter().all(|(key, _)| matches!(key, Self::Text(_))) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Map(entries) => {
                let mut pairs = serializer.serialize_seq(Some(entries.len()))?;
                for pair in entries {
                    pairs.serialize_element(pair)?;
                }
                pairs.end()
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

impl Plain {
    /// As people read it: JSON as far as it goes, in one line if it fits into `width`. Of long
    /// lists at most `items` are shown.
    pub(crate) fn pretty(&self, width: usize, items: usize) -> String {
        let mut text = String::new();
        self.write(&mut text, 0, width, items);
        text
    }

    fn write(&self, text: &mut String, indent: usize, width: usize, items: usize) {
        let line = self.line(items);
        if indent + line.width() <= width || !self.is_long() {
            text.push_str(&line);
            return;
        }
        let pad = " ".repeat(indent + 2);
        let (open, close) = if matches!(self, Self::List(_)) { ("[", "]") } else { ("{", "}") };
        text.push_str(open);
        let mut count = 0;
        let mut begin = |text: &mut String| {
            text.push_str(if count == 0 { "\n" } else { ",\n" });
            text.push_str(&pad);
            count += 1;
        };
        match self {
            Self::List(list) => {
                for item in list.iter().take(items) {
                    begin(text);
                    item.write(text, indent + 2, width, items);
                }
                rest(text, &mut begin, list.len(), items);
            }
            Self::Map(map) => {
                for (key, value) in map.iter().take(items) {
                    begin(text);
                    let key = format!("{}: ", key.line(items));
                    text.push_str(&key);
                    value.write(text, indent + 2, width.saturating_sub(key.width()), items);
                }
                rest(text, &mut begin, map.len(), items);
            }
            _ => {}
        }
        text.push('\n');
        text.push_str(&" ".repeat(indent));
        text.push_str(close);
    }

    fn is_long(&self) -> bool {
        match self {
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            _ => false,
        }
    }

    /// All of it in one line.
    fn line(&self, items: usize) -> String {
        let joined = |parts: Vec<String>, whole: usize| {
            let mut parts = parts;
            if whole > items {
                parts.push(format!("… {} more", whole - items));
            }
            parts.join(", ")
        };
        match self {
            Self::Nil => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => format!("{value:?}"),
            Self::Text(value) => {
                serde_json::to_string(value).unwrap_or_else(|_error| value.clone())
            }
            Self::Bytes(value) => {
                format!("<{} bytes: {}…>", value.len(), hex(&value[..value.len().min(8)]))
            }
            Self::List(list) => {
                let parts = list.iter().take(items).map(|item| item.line(items)).collect();
                format!("[{}]", joined(parts, list.len()))
            }
            Self::Map(map) => {
                let entry = |(key, value): &(Self, Self)| {
                    format!("{}: {}", key.line(items), value.line(items))
                };
                format!("{{{}}}", joined(map.iter().take(items).map(entry).collect(), map.len()))
            }
        }
    }
}

fn rest(text: &mut String, begin: &mut impl FnMut(&mut String), whole: usize, items: usize) {
    if whole > items {
        begin(text);
        text.push_str(&format!("… {} more", whole - items));
    }
}

#[cfg(test)]
mod tests {
    use cov_core::transportable::TransportableObject;

    use super::*;

    fn of(value: serde_json::Value) -> Plain {
        TransportableObject::from_json(&value).unwrap().decode().unwrap()
    }

    #[test]
    fn short_values_take_a_line_and_long_ones_several() {
        let value = of(
            serde_json::json!({"loss": 0.25, "layers": [1, 2, 3], "name": "a \"b\"", "none": null}),
        );
        insta::assert_snapshot!(value.pretty(80, 100), @r#"{"layers": [1, 2, 3], "loss": 0.25, "name": "a \"b\"", "none": null}"#);
        insta::assert_snapshot!(value.pretty(30, 2), @r#"
        {
          "layers": [1, 2, … 1 more],
          "loss": 0.25,
          … 2 more
        }
        "#);
        assert_eq!(of(serde_json::json!([])).pretty(1, 1), "[]");
    }

    #[test]
    fn everything_plain_has_a_json_form() {
        let value = Plain::List(vec![
            Plain::Float(f64::NAN),
            Plain::Bytes(vec![1, 255]),
            Plain::Map(vec![(Plain::Int(1), Plain::Nil)]),
            Plain::Int(i128::from(u64::MAX) + 1),
        ]);
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(json, r#"["NaN",{"hex":"01ff"},[[1,null]],18446744073709551616]"#);
        assert_eq!(value.pretty(80, 9), "[NaN, <2 bytes: 01ff…>, {1: null}, 18446744073709551616]");
    }
}
