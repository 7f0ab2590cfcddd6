//! The text of a JSON string, piece by piece. Pieces may cut an escape or a character in two.

use axum::body::Bytes;

/// Why a string is no text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoText(pub(super) &'static str);

/// What of a string has been read and not been taken yet.
#[derive(Debug, Default)]
pub(super) struct Text {
    read: Vec<u8>,
    escape: Escape,
    /// The first half of a character that is written as two escapes.
    high: Option<u32>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Escape {
    #[default]
    None,
    Begun,
    Hex {
        digits: u8,
        value: u32,
    },
}

impl Text {
    /// Reads on in the string.
    pub(super) fn push(&mut self, mut raw: &[u8]) -> Result<(), NoText> {
        while let Some((first, after)) = raw.split_first() {
            match self.escape {
                Escape::None => {
                    let length = raw.iter().position(|byte| *byte == b'\\').unwrap_or(raw.len());
                    let (plain, rest) = raw.split_at(length);
                    self.plain(plain)?;
                    raw = rest.strip_prefix(b"\\").unwrap_or(rest);
                    if !rest.is_empty() {
                        self.escape = Escape::Begun;
                    }
                }
                Escape::Begun => {
                    self.escape = self.named(*first)?;
                    raw = after;
                }
                Escape::Hex { digits, value } => {
                    self.escape = self.digit(*first, digits, value)?;
                    raw = after;
                }
            }
        }
        Ok(())
    }

    fn plain(&mut self, plain: &[u8]) -> Result<(), NoText> {
        if plain.is_empty() {
            return Ok(());
        }
        self.no_half()?;
        if plain.iter().any(|byte| *byte < 0x20) {
            return Err(NoText("a control character stands in it"));
        }
        self.read.extend_from_slice(plain);
        Ok(())
    }

    fn named(&mut self, letter: u8) -> Result<Escape, NoText> {
        if letter == b'u' {
            return Ok(Escape::Hex { digits: 0, value: 0 });
        }
        self.no_half()?;
        let byte = match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return Err(NoText("an escape is unknown")),
        };
        self.read.push(byte);
        Ok(Escape::None)
    }

    fn digit(&mut self, digit: u8, digits: u8, value: u32) -> Result<Escape, NoText> {
        let Some(read) = char::from(digit).to_digit(16) else {
            return Err(NoText("an escape has no four digits"));
        };
        let value = value * 16 + read;
        if digits < 3 {
            return Ok(Escape::Hex { digits: digits + 1, value });
        }
        match (self.high.take(), value) {
            (None, 0xd800..=0xdbff) => self.high = Some(value),
            (None, value) => self.character(value)?,
            (Some(high), 0xdc00..=0xdfff) => {
                self.character(0x1_0000 + ((high - 0xd800) << 10) + (value - 0xdc00))?;
            }
            (Some(_), _) => return Err(HALF),
        }
        Ok(Escape::None)
    }

    fn character(&mut self, value: u32) -> Result<(), NoText> {
        let character = char::from_u32(value).ok_or(HALF)?;
        self.read.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    fn no_half(&self) -> Result<(), NoText> {
        if self.high.is_some() { Err(HALF) } else { Ok(()) }
    }

    /// What has been read, up to its last whole character.
    pub(super) fn take(&mut self) -> Result<Bytes, NoText> {
        let whole = match std::str::from_utf8(&self.read) {
            Ok(_) => self.read.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(NO_UTF8),
        };
        let cut = self.read.split_off(whole);
        Ok(std::mem::replace(&mut self.read, cut).into())
    }

    /// The string ends here; what has been read of it can still be taken.
    pub(super) fn end(&self) -> Result<(), NoText> {
        self.no_half()?;
        if !matches!(self.escape, Escape::None) {
            return Err(NoText("an escape is cut off"));
        }
        match std::str::from_utf8(&self.read) {
            Ok(_) => Ok(()),
            Err(_) => Err(NO_UTF8),
        }
    }
}

const HALF: NoText = NoText("half a character stands in it");
const NO_UTF8: NoText = NoText("it is no UTF-8");
