//! Puts encoded values together without knowing their types. In bincode, a list is its length
//! and its items in a row, a tuple its items alone, an option one byte and its value; in JSON the
//! punctuation is added. So values that share an encoding can be joined as they are.

use std::borrow::Cow;
use std::slice;

use cov_core::array::Array;
use cov_core::pickle::Pickle;
use cov_core::transportable::{Encoding, TransportableObject};

use super::{Leaf, NoCrossing, archive};
use crate::shape::Shape;

/// Longest printed form of what was put together. Bytes.
const PRINTED_BYTES_MAX: usize = 120;

/// Makes one object of the values, in this encoding.
///
/// # Errors
/// A value has another encoding and cannot be brought into this one.
pub(crate) fn collect(
    shape: &Shape,
    leaves: &[Leaf],
    encoding: Encoding,
) -> Result<TransportableObject, NoCrossing> {
    if let (Shape::Value, [leaf]) = (shape, leaves)
        && leaf.object.header.encoding == encoding
    {
        return Ok(leaf.object.clone());
    }
    let mut out = Vec::new();
    let mut rest = leaves.iter();
    match encoding {
        Encoding::Bincode => bincode(shape, &mut rest, &mut out)?,
        Encoding::Json => json(shape, &mut rest, &mut out)?,
        Encoding::Cloudpickle | Encoding::Array => {
            return Err(NoCrossing(format!("values are not collected as {encoding}")));
        }
    }
    if rest.next().is_some() {
        return Err(NoCrossing("there are more values than the result has places".to_owned()));
    }
    let mut printed = String::new();
    print(shape, &mut leaves.iter(), &mut printed);
    Ok(archive(encoding, printed, out))
}

fn next<'a>(leaves: &mut slice::Iter<'a, Leaf>) -> Result<&'a Leaf, NoCrossing> {
    leaves.next().ok_or_else(|| NoCrossing("a value is missing".to_owned()))
}

fn bincode(
    shape: &Shape,
    leaves: &mut slice::Iter<'_, Leaf>,
    out: &mut Vec<u8>,
) -> Result<(), NoCrossing> {
    match shape {
        Shape::Value => {
            out.extend_from_slice(bincode_of(next(leaves)?)?);
        }
        Shape::Values(count) => {
            write_length(*count as usize, out)?;
            (0..*count).try_for_each(|_| bincode(&Shape::Value, leaves, out))?;
        }
        Shape::Unit => {}
        Shape::Absent => out.push(0),
        Shape::Present(inner) => {
            out.push(1);
            bincode(inner, leaves, out)?;
        }
        Shape::List(items) => {
            write_length(items.len(), out)?;
            items.iter().try_for_each(|item| bincode(item, leaves, out))?;
        }
        Shape::Tuple(items) => items.iter().try_for_each(|item| bincode(item, leaves, out))?,
        Shape::Map(entries) => {
            write_length(entries.len(), out)?;
            for (key, value) in entries {
                bincode(key, leaves, out)?;
                bincode(value, leaves, out)?;
            }
        }
    }
    Ok(())
}

fn write_length(length: usize, out: &mut Vec<u8>) -> Result<(), NoCrossing> {
    bincode::encode_into_std_write(length as u64, out, bincode::config::standard())
        .map(|_| ())
        .map_err(|error| NoCrossing(error.to_string()))
}

fn json(
    shape: &Shape,
    leaves: &mut slice::Iter<'_, Leaf>,
    out: &mut Vec<u8>,
) -> Result<(), NoCrossing> {
    match shape {
        Shape::Value => out.extend_from_slice(&json_of(next(leaves)?)?),
        Shape::Values(count) => {
            let places = (0..*count).map(|_| &Shape::Value);
            json_list(places, leaves, out)?;
        }
        Shape::Unit | Shape::Absent => out.extend_from_slice(b"null"),
        Shape::Present(inner) => json(inner, leaves, out)?,
        Shape::List(items) | Shape::Tuple(items) => json_list(items.iter(), leaves, out)?,
        Shape::Map(entries) => {
            out.push(b'{');
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                json_key(key, leaves, out)?;
                out.push(b':');
                json(value, leaves, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn json_list<'s>(
    items: impl Iterator<Item = &'s Shape>,
    leaves: &mut slice::Iter<'_, Leaf>,
    out: &mut Vec<u8>,
) -> Result<(), NoCrossing> {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json(item, leaves, out)?;
    }
    out.push(b']');
    Ok(())
}

/// A key is text; a number is written as text, which is how serde reads it back.
fn json_key(
    shape: &Shape,
    leaves: &mut slice::Iter<'_, Leaf>,
    out: &mut Vec<u8>,
) -> Result<(), NoCrossing> {
    let mut key = Vec::new();
    json(shape, leaves, &mut key)?;
    match key.first() {
        Some(b'"') => out.extend_from_slice(&key),
        Some(b'-' | b'0'..=b'9') => {
            out.push(b'"');
            out.extend_from_slice(&key);
            out.push(b'"');
        }
        _ => {
            let key = String::from_utf8_lossy(&key);
            return Err(NoCrossing(format!("{key} cannot be a key of a map in json")));
        }
    }
    Ok(())
}

fn bincode_of(leaf: &Leaf) -> Result<&[u8], NoCrossing> {
    match leaf.object.header.encoding {
        Encoding::Bincode => Ok(&leaf.object.data),
        // Of an array, too: bincode tells lists from arrays of fixed length.
        _ => Err(no_way(leaf, Encoding::Bincode)),
    }
}

fn json_of_array(leaf: &Leaf) -> Result<Cow<'_, [u8]>, NoCrossing> {
    let refused = |reason: &dyn std::fmt::Display| {
        let node = leaf.node;
        NoCrossing(format!(
            "the output of node {node}, encoded as array, cannot be brought into json: {reason}"
        ))
    };
    let array = Array::from_npy(&leaf.object.data).map_err(|error| refused(&error))?;
    cov_core::json::to_vec(&array).map(Cow::Owned).map_err(|error| refused(&error))
}

fn json_of(leaf: &Leaf) -> Result<Cow<'_, [u8]>, NoCrossing> {
    match leaf.object.header.encoding {
        Encoding::Json => Ok(Cow::Borrowed(&leaf.object.data)),
        Encoding::Cloudpickle => {
            let pickle = Pickle::from_slice(&leaf.object.data);
            pickle.and_then(|pickle| pickle.to_json()).map(Cow::Owned).map_err(|reason| {
                let node = leaf.node;
                NoCrossing(format!(
                    "the output of node {node}, encoded as cloudpickle, cannot be brought into json: {reason}"
                ))
            })
        }
        Encoding::Array => json_of_array(leaf),
        Encoding::Bincode => Err(no_way(leaf, Encoding::Json)),
    }
}

fn no_way(leaf: &Leaf, wanted: Encoding) -> NoCrossing {
    let kind = match leaf.object.header.attrs.name.as_str() {
        name if leaf.object.header.encoding == Encoding::Bincode && !name.is_empty() => {
            format!("a `{name}` ")
        }
        _ => String::new(),
    };
    NoCrossing(format!(
        "the output of node {}, {}encoded as {}, cannot be brought into {wanted} without knowing its type",
        leaf.node, kind, leaf.object.header.encoding,
    ))
}

/// What people see of it: the printed forms of the values in the punctuation of Rust.
fn print(shape: &Shape, leaves: &mut slice::Iter<'_, Leaf>, out: &mut String) {
    if out.len() >= PRINTED_BYTES_MAX {
        if !out.ends_with('…') {
            out.push('…');
        }
        return;
    }
    match shape {
        Shape::Value => {
            let text = leaves.next().map_or("", |leaf| leaf.object.object_string.as_str());
            out.extend(text.chars().take(PRINTED_BYTES_MAX));
        }
        Shape::Values(count) => {
            print_all((0..*count).map(|_| &Shape::Value), ["[", "]"], leaves, out);
        }
        Shape::Unit => out.push_str("null"),
        Shape::Absent => out.push_str("null"),
        Shape::Present(inner) => print(inner, leaves, out),
        Shape::List(items) | Shape::Tuple(items) => {
            print_all(items.iter(), ["[", "]"], leaves, out);
        }
        Shape::Map(entries) => {
            out.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                print(key, leaves, out);
                out.push(':');
                print(value, leaves, out);
            }
            out.push('}');
        }
    }
}

fn print_all<'s>(
    items: impl Iterator<Item = &'s Shape>,
    [open, close]: [&str; 2],
    leaves: &mut slice::Iter<'_, Leaf>,
    out: &mut String,
) {
    out.push_str(open);
    for (index, item) in items.enumerate() {
        if out.len() >= PRINTED_BYTES_MAX {
            print(item, leaves, out);
            return;
        }
        out.push_str(if index > 0 { "," } else { "" });
        print(item, leaves, out);
    }
    out.push_str(close);
}
