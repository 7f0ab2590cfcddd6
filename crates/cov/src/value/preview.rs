//! The beginning of a value's JSON form: what people see of it in lists and pages. Never the
//! value itself, and never long.

use std::io::{self, Write};

use serde::Serialize;

/// Longest preview. Bytes.
const PREVIEW_BYTES_MAX: usize = 120;

/// The beginning of `value`, or of what its type is called if it has no JSON form.
pub(crate) fn preview<T: Serialize + ?Sized>(value: &T) -> String {
    let mut writer = Bounded { bytes: Vec::new() };
    let written = serde_json::to_writer(&mut writer, value);
    let whole = written.is_ok();
    let text = String::from_utf8_lossy(&writer.bytes).into_owned();
    match whole {
        true => text,
        false if writer.bytes.len() < PREVIEW_BYTES_MAX => {
            format!("<{}>", std::any::type_name::<T>())
        }
        // A character that was cut in two is left out.
        false => format!("{}…", text.trim_end_matches(char::REPLACEMENT_CHARACTER)),
    }
}

/// Refuses what is too much, so that a long value is not walked to its end.
struct Bounded {
    bytes: Vec<u8>,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PREVIEW_BYTES_MAX - self.bytes.len();
        if room == 0 {
            return Err(io::Error::other("the preview is full"));
        }
        let taken = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
        self.bytes.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
