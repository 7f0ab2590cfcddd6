//! Takes the long names of nodes out of a manifest while it arrives, and hands them to the store:
//! an argument stands in the name of its node as it is printed, however large it is. Marks take
//! their places, and the rest is parsed as it ever was. Knows of JSON only where strings begin
//! and end; what it lets through is judged by the parser.

use std::collections::HashMap;

use axum::body::Bytes;
use cov_core::error::ErrorCode;
use cov_core::graph::NodeKind;
use cov_dispatcher::Handle;
use cov_dispatcher::store::{ContentWriter, Staged};

use self::text::{NoText, Text};
use super::names::node_kind;
use crate::body::{Chunks, Collected};
use crate::error::Refusal;

mod text;

/// Longest name that stays in its place. Bytes, as JSON writes them.
const KEPT_BYTES_MAX: usize = 64 << 10;
/// Objects and lists around the members of a node's metadata: the manifest, its lattice, the
/// graph, the nodes, the node, and the metadata itself.
const METADATA_DEPTH: usize = 6;
/// How much of a name stays in the manifest, from its beginning. Bytes.
const BEGINNING_BYTES: usize = 256;
/// How much of its end is looked at to tell what kind of node it names. Bytes.
const ENDING_BYTES: usize = 64;

/// A name that the store has.
#[derive(Debug, Clone)]
pub(super) struct LongName {
    pub(super) beginning: String,
    pub(super) kind: NodeKind,
    pub(super) staged: Staged,
}

/// The names that were taken out, by the marks in their places.
#[derive(Debug, Default)]
pub(super) struct LongNames(HashMap<String, LongName>);

impl LongNames {
    /// The name in whose place `mark` stands. No client can guess a mark.
    pub(super) fn of(&self, mark: &str) -> Option<&LongName> {
        self.0.get(mark)
    }
}

/// Gathers a body without the long names in it.
///
/// # Errors
/// Those of the body; a long name is no text; the store cannot take it.
pub(super) async fn collect(
    handle: &Handle,
    mut chunks: Chunks,
) -> Result<(Collected, LongNames), Refusal> {
    let mut room = chunks.room();
    let mut sieve = Sieve::new();
    let mut names = LongNames::default();
    let mut incoming: Option<Incoming> = None;
    while let Some(chunk) = chunks.next().await? {
        let mut rest: &[u8] = &chunk;
        loop {
            let ended = sieve.feed(&mut rest).map_err(no_text)?;
            let text = sieve.text.take().map_err(no_text)?;
            if !text.is_empty() {
                let to = match incoming.take() {
                    Some(to) => to,
                    None => Incoming::new(handle).await?,
                };
                incoming.insert(to).write(text).await?;
            }
            let Some(mark) = ended else { break };
            if let Some(whole) = incoming.take() {
                names.0.insert(mark, whole.finish().await?);
            }
        }
        room.hold(sieve.kept.capacity())?;
    }
    Ok((Collected::new(sieve.kept, room), names))
}

fn no_text(NoText(reason): NoText) -> Refusal {
    let said = format!("JSON decode error: the name of a node is no text: {reason}");
    Refusal::at(ErrorCode::MalformedJson, "json_invalid", vec!["body".into()], said)
}

/// A long name on its way to the store.
#[derive(Debug)]
struct Incoming {
    writer: Box<dyn ContentWriter>,
    beginning: Vec<u8>,
    ending: Vec<u8>,
}

impl Incoming {
    async fn new(handle: &Handle) -> Result<Self, Refusal> {
        let writer = handle.content_writer().await?;
        Ok(Self { writer, beginning: Vec::new(), ending: Vec::new() })
    }

    async fn write(&mut self, text: Bytes) -> Result<(), Refusal> {
        ends(&mut self.beginning, &mut self.ending, &text);
        Ok(self.writer.write(text).await.map_err(cov_dispatcher::Error::from)?)
    }

    async fn finish(self) -> Result<LongName, Refusal> {
        let staged = self.writer.finish().await.map_err(cov_dispatcher::Error::from)?;
        let (beginning, kind) = kind_of(&self.beginning, &self.ending);
        Ok(LongName { beginning, kind, staged })
    }
}

/// Notes the ends of a name when `text` is its next part.
fn ends(beginning: &mut Vec<u8>, ending: &mut Vec<u8>, text: &[u8]) {
    let missing = BEGINNING_BYTES.saturating_sub(beginning.len());
    beginning.extend(text.iter().take(missing));
    ending.extend(text.iter().skip(text.len().saturating_sub(ENDING_BYTES)));
    let surplus = ending.len().saturating_sub(ENDING_BYTES);
    ending.drain(..surplus);
}

/// The text that a name begins with, and what it means.
fn kind_of(beginning: &[u8], ending: &[u8]) -> (String, NodeKind) {
    let cut = std::str::from_utf8(beginning).map_or_else(|cut| cut.valid_up_to(), str::len);
    let whole = String::from_utf8_lossy(beginning.get(..cut).unwrap_or_default()).into_owned();
    let kind = node_kind(&format!("{whole}{}", String::from_utf8_lossy(ending)));
    (whole, kind)
}

/// Where in the manifest the next byte stands.
#[derive(Debug)]
enum Place {
    /// Not in a string.
    Between,
    /// In a string that begins at this place of what is kept.
    String { begin: usize, is_name: bool },
    /// In a long name.
    Name,
}

/// What is kept of a manifest, and the part of a long name that came last.
#[derive(Debug)]
struct Sieve {
    kept: Vec<u8>,
    text: Text,
    place: Place,
    /// Whether a backslash stands before the next byte of a string.
    escaped: bool,
    depth: usize,
    /// Whether the string that ended last is the word `name`.
    said_name: bool,
    /// Whether what comes next is the value of a member `name`.
    is_value_of_name: bool,
    secret: uuid::Uuid,
    taken: usize,
}

impl Sieve {
    fn new() -> Self {
        Self {
            kept: Vec::new(),
            text: Text::default(),
            place: Place::Between,
            escaped: false,
            depth: 0,
            said_name: false,
            is_value_of_name: false,
            secret: uuid::Uuid::new_v4(),
            taken: 0,
        }
    }

    /// Goes through `rest` to its end, or to that of a long name, whose mark is then returned.
    fn feed(&mut self, rest: &mut &[u8]) -> Result<Option<String>, NoText> {
        while !rest.is_empty() {
            match self.place {
                Place::Between => self.between(rest),
                Place::String { begin, is_name } => {
                    let (part, ended) = self.part_of_string(rest);
                    self.kept.extend_from_slice(part);
                    if is_name && self.kept.len() - begin > KEPT_BYTES_MAX {
                        let raw = self.kept.split_off(begin);
                        let raw = raw.strip_prefix(b"\"").unwrap_or(&raw);
                        let raw = if ended { raw.strip_suffix(b"\"").unwrap_or(raw) } else { raw };
                        self.text.push(raw)?;
                        self.place = Place::Name;
                        if ended {
                            return self.name_ended().map(Some);
                        }
                    } else if ended {
                        self.said_name = self.kept.get(begin..) == Some(b"\"name\"");
                        self.place = Place::Between;
                    }
                }
                Place::Name => {
                    let (part, ended) = self.part_of_string(rest);
                    let part = if ended { part.strip_suffix(b"\"").unwrap_or(part) } else { part };
                    self.text.push(part)?;
                    if ended {
                        return self.name_ended().map(Some);
                    }
                }
            }
        }
        Ok(None)
    }

    /// What stands before the next string.
    fn between(&mut self, rest: &mut &[u8]) {
        let mut read = 0;
        for byte in rest.iter() {
            read += 1;
            match byte {
                b'"' => {
                    let is_name = self.is_value_of_name && self.depth == METADATA_DEPTH;
                    self.place = Place::String { begin: self.kept.len() + read - 1, is_name };
                    self.is_value_of_name = false;
                    break;
                }
                b':' => self.is_value_of_name = std::mem::take(&mut self.said_name),
                b'{' | b'[' => {
                    self.depth += 1;
                    self.is_value_of_name = false;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b',' => self.said_name = false,
                _ => {}
            }
        }
        let (before, after) = rest.split_at(read);
        self.kept.extend_from_slice(before);
        *rest = after;
    }

    /// The bytes up to the end of the string, its quote included, or all; and whether it ended.
    fn part_of_string<'a>(&mut self, rest: &mut &'a [u8]) -> (&'a [u8], bool) {
        let mut from = usize::from(std::mem::take(&mut self.escaped));
        loop {
            let ahead = rest.get(from..).unwrap_or_default();
            let Some(found) = ahead.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                return (std::mem::take(rest), false);
            };
            let at = from + found;
            if rest.get(at) == Some(&b'"') {
                let (part, after) = rest.split_at(at + 1);
                *rest = after;
                return (part, true);
            }
            if at + 1 == rest.len() {
                self.escaped = true;
                return (std::mem::take(rest), false);
            }
            from = at + 2;
        }
    }

    fn name_ended(&mut self) -> Result<String, NoText> {
        self.text.end()?;
        let mark = format!("{}-{}", self.secret, self.taken);
        self.taken += 1;
        self.place = Place::Between;
        self.said_name = false;
        self.kept.extend_from_slice(format!("\"{mark}\"").as_bytes());
        Ok(mark)
    }
}

#[cfg(test)]
mod tests;
