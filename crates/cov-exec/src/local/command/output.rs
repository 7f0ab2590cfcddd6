//! From a file that a command has written to the archive of its output.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use cov_core::array::{self, Number};
use cov_core::transportable::Encoding;

use super::super::INLINE_BYTES_MAX;
use super::archive::{self, CHUNK_BYTES};
use super::text::{self, Utf8};
use crate::Payload;

/// How much of a text people see in lists. Bytes.
const PREVIEW_BYTES_MAX: u64 = 120;

/// The content of a file as an archive: a text in JSON if it is text, an array of bytes otherwise.
/// Much of it is written to `spool`.
pub(super) fn archive(path: &Path, spool: &Path) -> io::Result<Payload> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let (length, is_text) = survey(&mut file)?;
    file.seek(SeekFrom::Start(0))?;
    let front = match is_text {
        true => archive::front(Encoding::Json, preview(&mut file)?),
        false => archive::front(Encoding::Array, format!("{length} bytes")),
    };
    // The file may grow: what was surveyed counts.
    let content = BufReader::with_capacity(CHUNK_BYTES, file.take(length));
    write(spool, length, |to| {
        to.write_all(&front)?;
        match is_text {
            true => write_text(content, to),
            false => {
                let count = usize::try_from(length).map_err(io::Error::other)?;
                to.write_all(&array::head(Number::U8, &[count]).map_err(io::Error::other)?)?;
                copy(content, to)
            }
        }
    })
}

/// Has an archive written, to memory or to `spool`, by how long its content is.
pub(super) fn write(
    spool: &Path,
    length: u64,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Payload> {
    // Half of what goes through memory, since encoding makes it longer.
    if length <= INLINE_BYTES_MAX as u64 / 2 {
        let mut bytes = Vec::new();
        content(&mut bytes)?;
        return Ok(Payload::Bytes(bytes.into()));
    }
    let options =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(spool);
    let mut file = BufWriter::with_capacity(CHUNK_BYTES, options?);
    content(&mut file)?;
    file.flush()?;
    Ok(Payload::File(spool.to_owned()))
}

/// How long it is, and whether it is text.
fn survey(file: &mut File) -> io::Result<(u64, bool)> {
    let (mut chunk, mut utf8, mut length) = (vec![0; CHUNK_BYTES], Utf8::default(), 0);
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok((length, utf8.is_text())),
            count => {
                utf8.take(chunk.get(..count).unwrap_or_default());
                length += count as u64;
            }
        }
    }
}

fn preview(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    Read::by_ref(file).take(PREVIEW_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(0))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(match bytes.len() as u64 > PREVIEW_BYTES_MAX {
        true => format!("{}…", text.trim_end_matches(char::REPLACEMENT_CHARACTER)),
        false => text.trim_end_matches('\n').to_owned(),
    })
}

fn write_text(mut content: impl Read, to: &mut dyn Write) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    to.write_all(b"\"")?;
    loop {
        match content.read(&mut chunk)? {
            0 => return to.write_all(b"\""),
            count => text::write_escaped(chunk.get(..count).unwrap_or_default(), to)?,
        }
    }
}

fn copy(mut content: impl Read, to: &mut dyn Write) -> io::Result<()> {
    io::copy(&mut content, to).map(|_| ())
}

/// The end of a file, as text, from the beginning of a line.
pub(super) fn tail(path: &Path, bytes_max: usize) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(bytes_max as u64);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(bytes_max as u64).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let line = text.find('\n').filter(|_| start > 0).map_or(0, |at| at + 1);
    Ok(text.get(line..).unwrap_or(&text).to_owned())
}
