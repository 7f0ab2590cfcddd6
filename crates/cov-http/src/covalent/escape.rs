//! Writes text into a JSON string chunk by chunk. Chunks may cut a character in two.

use std::io;

/// What is left of a chunk whose last character was cut.
#[derive(Debug, Default)]
pub(super) struct Escaper {
    cut: Vec<u8>,
}

impl Escaper {
    /// Appends `chunk` to the string that `out` ends in.
    ///
    /// # Errors
    /// The bytes are no UTF-8.
    pub(super) fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let mut rest = chunk;
        while !self.cut.is_empty() {
            let Some((next, after)) = rest.split_first() else { return Ok(()) };
            self.cut.push(*next);
            rest = after;
            match std::str::from_utf8(&self.cut) {
                Ok(character) => {
                    escape(character, out)?;
                    self.cut.clear();
                }
                Err(error) if error.error_len().is_none() => {}
                Err(error) => return Err(no_text(error)),
            }
        }
        match std::str::from_utf8(rest) {
            Ok(text) => escape(text, out),
            Err(error) if error.error_len().is_some() => Err(no_text(error)),
            Err(error) => {
                let (whole, cut) = rest.split_at(error.valid_up_to());
                self.cut.extend_from_slice(cut);
                escape(std::str::from_utf8(whole).map_err(no_text)?, out)
            }
        }
    }

    /// Ends the text.
    ///
    /// # Errors
    /// It ends within a character.
    pub(super) fn finish(self) -> io::Result<()> {
        if self.cut.is_empty() {
            return Ok(());
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn no_text(error: std::str::Utf8Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn escape(text: &str, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    serde_json::to_writer(&mut *out, text)?;
    // The quotes belong to the whole string, not to each chunk.
    out.pop();
    out.remove(start);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_cutting_gives_the_same_string() {
        let text = "a\"b\\ \n\u{1}ä€𝄞\u{10ffff}z";
        for size in 1..=text.len() {
            let mut out = b"\"".to_vec();
            let mut escaper = Escaper::default();
            for chunk in text.as_bytes().chunks(size) {
                escaper.push(chunk, &mut out).unwrap();
            }
            escaper.finish().unwrap();
            out.push(b'"');
            assert_eq!(out, serde_json::to_vec(text).unwrap(), "chunks of {size}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let mut out = Vec::new();
        assert!(Escaper::default().push(b"a\xff", &mut out).is_err());
        let mut escaper = Escaper::default();
        escaper.push(b"\xe2\x82", &mut out).unwrap();
        assert!(escaper.push(b"x", &mut out).is_err());
        let mut escaper = Escaper::default();
        escaper.push(b"\xe2\x82", &mut out).unwrap();
        assert!(escaper.finish().is_err());
    }
}
