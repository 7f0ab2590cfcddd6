//! Texts in JSON, escaped and unescaped as streams.

use std::io::{self, BufRead, Write};

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the text in it is no JSON")
}

/// Copies the text whose opening quote was read, up to its end.
pub(super) fn unescape(from: &mut dyn BufRead, to: &mut dyn Write) -> io::Result<()> {
    loop {
        let buffer = from.fill_buf()?;
        if buffer.is_empty() {
            return Err(broken());
        }
        let plain = buffer.iter().position(|byte| matches!(byte, b'"' | b'\\'));
        let count = plain.unwrap_or(buffer.len());
        to.write_all(buffer.get(..count).unwrap_or_default())?;
        from.consume(count);
        if plain.is_none() {
            continue;
        }
        match byte(from)? {
            b'"' => return Ok(()),
            _ => escape(from, to)?,
        }
    }
}

fn byte(from: &mut dyn BufRead) -> io::Result<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// What stands behind a backslash.
fn escape(from: &mut dyn BufRead, to: &mut dyn Write) -> io::Result<()> {
    let plain = match byte(from)? {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        other @ (b'"' | b'\\' | b'/') => other,
        b'u' => {
            let letter = letter(from)?;
            return to.write_all(letter.encode_utf8(&mut [0; 4]).as_bytes());
        }
        _ => return Err(broken()),
    };
    to.write_all(&[plain])
}

fn letter(from: &mut dyn BufRead) -> io::Result<char> {
    let first = unit(from)?;
    let units = match first {
        0xd800..0xdc00 => {
            if (byte(from)?, byte(from)?) != (b'\\', b'u') {
                return Err(broken());
            }
            vec![first, unit(from)?]
        }
        _ => vec![first],
    };
    let mut letters = char::decode_utf16(units);
    match (letters.next(), letters.next()) {
        (Some(Ok(letter)), None) => Ok(letter),
        _ => Err(broken()),
    }
}

fn unit(from: &mut dyn BufRead) -> io::Result<u16> {
    let mut digits = [0; 4];
    from.read_exact(&mut digits)?;
    let digits = str::from_utf8(&digits).map_err(|_no_digits| broken())?;
    u16::from_str_radix(digits, 16).map_err(|_no_digits| broken())
}

/// Writes a piece of a text as it stands within quotes. Pieces may end within a character.
pub(super) fn write_escaped(piece: &[u8], to: &mut dyn Write) -> io::Result<()> {
    let mut rest = piece;
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        let (plain, from) = rest.split_at(at);
        to.write_all(plain)?;
        let Some((special, after)) = from.split_first() else { break };
        match special {
            b'"' => to.write_all(b"\\\"")?,
            b'\\' => to.write_all(b"\\\\")?,
            b'\n' => to.write_all(b"\\n")?,
            b'\r' => to.write_all(b"\\r")?,
            b'\t' => to.write_all(b"\\t")?,
            other => write!(to, "\\u{other:04x}")?,
        }
        rest = after;
    }
    to.write_all(rest)
}

/// Tells whether pieces of bytes, one after the other, are text.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// A character that the last piece has begun.
    open: Vec<u8>,
    is_broken: bool,
}

impl Utf8 {
    pub(super) fn take(&mut self, piece: &[u8]) {
        if self.is_broken {
            return;
        }
        let joined;
        let bytes = if self.open.is_empty() {
            piece
        } else {
            joined = [&self.open, piece].concat();
            &joined
        };
        match str::from_utf8(bytes) {
            Ok(_) => self.open = Vec::new(),
            Err(error) if error.error_len().is_none() => {
                self.open = bytes.get(error.valid_up_to()..).unwrap_or_default().to_vec();
            }
            Err(_) => self.is_broken = true,
        }
    }

    pub(super) fn is_text(&self) -> bool {
        !self.is_broken && self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn round(text: &str, capacity: usize) -> String {
        let mut escaped = Vec::new();
        for piece in text.as_bytes().chunks(capacity) {
            write_escaped(piece, &mut escaped).unwrap();
        }
        escaped.push(b'"');
        let read: String = serde_json::from_slice(&[b"\"", escaped.as_slice()].concat()).unwrap();
        assert_eq!(read, text);
        let mut plain = Vec::new();
        unescape(&mut BufReader::with_capacity(capacity, &escaped[..]), &mut plain).unwrap();
        String::from_utf8(plain).unwrap()
    }

    #[test]
    fn texts_come_back_whatever_the_pieces() {
        let text = "a\"b\\c\n\r\t\u{1}\u{7f}ä€😀\0end";
        for capacity in 1..12 {
            assert_eq!(round(text, capacity), text, "{capacity}");
        }
    }

    #[test]
    fn every_escape_is_read() {
        let mut plain = Vec::new();
        let escaped = br#"\u00e4\ud83d\ude00\/\b\f\"\\"rest"#;
        unescape(&mut &escaped[..], &mut plain).unwrap();
        assert_eq!(String::from_utf8(plain).unwrap(), "ä😀/\u{8}\u{c}\"\\");
        for wrong in [&br#"\x""#[..], br#"\ud83d""#, br#"\ude00""#, br#"\u12"#, b"no end"] {
            assert!(unescape(&mut &wrong[..], &mut Vec::new()).is_err());
        }
    }

    #[test]
    fn text_is_known_whatever_the_pieces() {
        let is_text = |bytes: &[u8], size: usize| {
            let mut utf8 = Utf8::default();
            bytes.chunks(size).for_each(|piece| utf8.take(piece));
            utf8.is_text()
        };
        for size in 1..6 {
            assert!(is_text("aä€😀".as_bytes(), size));
            assert!(!is_text(b"a\xff", size));
            assert!(!is_text(&"€".as_bytes()[..2], size));
        }
    }
}
