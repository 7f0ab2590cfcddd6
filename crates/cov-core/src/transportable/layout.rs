//! Where the parts of an archive lie, and its header as text. Knows nothing of the data.

use std::borrow::Cow;
use std::ops::Range;

use super::{Error, Form, HEADER_BYTES_MAX, Header};

/// The two offsets.
pub(super) const PREFIX_BYTES: usize = 16;

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

    /// Where the data lies, in its form.
    #[must_use]
    pub fn data(&self) -> Range<u64> {
        self.data_offset..self.length
    }
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    let raw: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_be_bytes(raw))
}

/// The header as Python's `json.dumps` writes it: a space after `,` and `:`, non-ASCII escaped.
pub(super) fn python_json(header: &Header) -> String {
    let doc = header.attrs.doc.as_deref().map_or(Cow::Borrowed("null"), |doc| quoted(doc).into());
    let encoding = match header.encoding.form() {
        Form::Base64 => String::new(),
        Form::Binary => format!(r#", "encoding": "{}", "binary": true"#, header.encoding),
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
