//! Puts values together to one, without running anything: the result of a workflow.

use std::io::{self, Read as _, Write};
use std::path::Path;

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use cov_core::command::Collect;
use cov_core::transportable::Encoding;

use super::{Failed, archive, output};
use crate::Payload;

/// The archive of what the values are together. Much of it is written to `spool`.
pub(super) fn collect(
    collect: &Collect,
    values: &[&Payload],
    spool: &Path,
) -> Result<Payload, Failed> {
    let failed =
        |error: io::Error| Failed::task(format!("The outputs cannot be put together: {error}"));
    match collect {
        Collect::List => written(values, spool, |to| list(values, to)).map_err(failed),
        Collect::Map(members) => {
            written(values, spool, |to| map(members, values, to)).map_err(failed)
        }
    }
}

fn written(
    values: &[&Payload],
    spool: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Payload> {
    let mut length = 0;
    for value in values {
        length += match value {
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::File(path) => std::fs::metadata(path)?.len(),
        };
    }
    let printed = format!("{} outputs", values.len());
    output::write(spool, length, |to| {
        to.write_all(&archive::front(Encoding::Json, printed))?;
        content(to)
    })
}

fn list(values: &[&Payload], to: &mut dyn Write) -> io::Result<()> {
    to.write_all(b"[")?;
    for (index, payload) in values.iter().enumerate() {
        if index > 0 {
            to.write_all(b",")?;
        }
        value(payload, to)?;
    }
    to.write_all(b"]")
}

fn map(
    members: &[(String, Option<u32>)],
    values: &[&Payload],
    to: &mut dyn Write,
) -> io::Result<()> {
    let mut rest = values;
    to.write_all(b"{")?;
    for (index, (name, count)) in members.iter().enumerate() {
        if index > 0 {
            to.write_all(b",")?;
        }
        serde_json::to_writer(&mut *to, name)?;
        to.write_all(b":")?;
        let wanted = count.map_or(1, |count| count as usize);
        let Some((own, after)) = rest.split_at_checked(wanted) else {
            return Err(io::Error::other(format!("`{name}` has too few values")));
        };
        rest = after;
        match (count, own) {
            (None, [single]) => value(single, to)?,
            _ => list(own, to)?,
        }
    }
    to.write_all(b"}")
}

/// A value within JSON: bytes are a table with their base64.
fn value(payload: &Payload, to: &mut dyn Write) -> io::Result<()> {
    let mut value = archive::open(payload)?;
    if value.encoding == Encoding::Json {
        return io::copy(&mut value.data, to).map(|_| ());
    }
    to.write_all(b"{\"base64\":\"")?;
    let mut encoder = EncoderWriter::new(&mut *to, &STANDARD);
    // A pickle is nothing that others read; its bytes are all that there is.
    match value.encoding {
        Encoding::Array => archive::copy_plain(value, &mut encoder)?,
        Encoding::Json | Encoding::Cloudpickle | Encoding::Bincode => {
            io::copy(&mut value.data.by_ref(), &mut encoder)?;
        }
    }
    encoder.finish()?;
    drop(encoder);
    to.write_all(b"\"}")
}
