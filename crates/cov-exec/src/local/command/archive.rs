//! Archives that are read and written as streams. Only what stands in front of the data is ever in
//! memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek as _, SeekFrom, Write};

use base64::engine::general_purpose::STANDARD;
use base64::read::DecoderReader;
use cov_core::transportable::{Attributes, Encoding, Form, Header, Layout, TransportableObject};

use crate::Payload;

/// Bytes read or written at once.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;

/// What is read from an archive: how its data is encoded, and the data.
pub(super) struct Value<'a> {
    pub(super) encoding: Encoding,
    pub(super) data: Box<dyn BufRead + 'a>,
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Value").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}

/// Opens an archive.
pub(super) fn open(payload: &Payload) -> io::Result<Value<'_>> {
    match payload {
        Payload::Bytes(bytes) => {
            let mut cursor = Cursor::new(bytes.as_ref());
            let length = bytes.len() as u64;
            let (encoding, form, data) = head(&mut cursor, length)?;
            cursor.set_position(data);
            Ok(value(encoding, form, cursor))
        }
        Payload::File(path) => {
            let mut file = File::open(path)?;
            let length = file.metadata()?.len();
            let (encoding, form, data) = head(&mut file, length)?;
            file.seek(SeekFrom::Start(data))?;
            Ok(value(encoding, form, file))
        }
    }
}

fn value<'a>(encoding: Encoding, form: Form, data: impl Read + 'a) -> Value<'a> {
    let data = BufReader::with_capacity(CHUNK_BYTES, data);
    let data: Box<dyn BufRead + 'a> = match form {
        Form::Base64 => {
            Box::new(BufReader::with_capacity(CHUNK_BYTES, DecoderReader::new(data, &STANDARD)))
        }
        Form::Binary => Box::new(data),
    };
    Value { encoding, data }
}

/// The encoding, the form of the data, and where it begins.
fn head(reader: &mut dyn Read, length: u64) -> io::Result<(Encoding, Form, u64)> {
    let mut prefix = [0; 16];
    reader.read_exact(&mut prefix)?;
    let layout = Layout::read(&prefix, length).map_err(io::Error::other)?;
    let header = layout.header();
    let size = usize::try_from(header.end - header.start).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    reader.read_exact(&mut bytes)?;
    let (header, form) = Header::read(&bytes).map_err(io::Error::other)?;
    Ok((header.encoding, form, layout.data().start))
}

/// What stands in front of an archive's data, which is to be written in binary.
pub(super) fn front(encoding: Encoding, printed: String) -> Vec<u8> {
    let header = Header {
        py_version: String::new(),
        cloudpickle_version: String::new(),
        attrs: Attributes::default(),
        encoding,
    };
    let data = bytes::Bytes::new();
    TransportableObject { header, object_string: printed, data }.to_archive()
}

/// Copies a value as bytes: the text itself if it is a text, the numbers if they are bytes,
/// otherwise the data as it is encoded.
pub(super) fn copy_plain(value: Value<'_>, to: &mut dyn Write) -> io::Result<()> {
    let Value { encoding, mut data } = value;
    match encoding {
        Encoding::Json => copy_json(&mut data, to),
        Encoding::Array => copy_array(&mut data, to),
        Encoding::Cloudpickle | Encoding::Bincode => Err(io::Error::other(format!(
            "it is encoded as {encoding:?}, which no command reads; have it returned as JSON"
        ))),
    }
}

fn copy_json(data: &mut dyn BufRead, to: &mut dyn Write) -> io::Result<()> {
    let first = data.fill_buf()?.first().copied();
    if first != Some(b'"') {
        return io::copy(data, to).map(|_| ());
    }
    data.consume(1);
    super::text::unescape(data, to)
}

const ARRAY_MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

fn copy_array(data: &mut dyn BufRead, to: &mut dyn Write) -> io::Result<()> {
    let mut front = [0; 10];
    data.read_exact(&mut front)?;
    let [.., low, high] = front;
    if !front.starts_with(ARRAY_MAGIC) {
        return Err(io::Error::other("it is no array"));
    }
    let mut dictionary = vec![0; usize::from(u16::from_le_bytes([low, high]))];
    data.read_exact(&mut dictionary)?;
    let text = String::from_utf8_lossy(&dictionary);
    let is_bytes = text.contains("'|u1'") && text.matches(',').count() <= 4 && text.contains(",)");
    if !is_bytes {
        // As a file that NumPy opens.
        to.write_all(&front)?;
        to.write_all(&dictionary)?;
    }
    io::copy(data, to).map(|_| ())
}
