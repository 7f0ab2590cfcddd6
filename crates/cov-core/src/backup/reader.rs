//! Reads and checks an archive, piece by piece. Holds one header or one JSON member at most, and
//! believes nothing that it has not seen.

use serde::de::DeserializeOwned;

use super::{
    Account, BLOCK_BYTES, Error, FORMAT, Head, Inventory, JSON_BYTES_MAX, Member, Trailer, header,
    padding,
};
use crate::asset::{ContentDigest, ContentRef};
use crate::ids::ContentId;

/// What the reader has come upon.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The head of the archive.
    Head(Head),
    /// The database or a content begins.
    Begin {
        /// Which.
        member: Member,
        /// Bytes.
        size: u64,
    },
    /// The next data of the member, never empty.
    Data(&'a [u8]),
    /// All data of the member have come. Those of a content are what its id says.
    End(ContentRef),
}

/// Takes an archive in pieces of any size.
#[derive(Debug)]
pub struct Reader {
    state: State,
    account: Account,
    head: Option<Head>,
    has_database: bool,
    contents: u64,
    bytes: u64,
    latest: Option<ContentId>,
}

#[derive(Debug)]
enum State {
    /// Gathers a header.
    Header(Vec<u8>),
    /// Gathers a JSON member.
    Json { member: Member, size: u64, text: Vec<u8> },
    /// Hands out data.
    Data { member: Member, size: u64, left: u64, digest: Box<ContentDigest> },
    /// Passes over zeros.
    Padding { left: usize },
    /// Passes over the zeros at the end.
    End { left: usize },
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            state: State::Header(Vec::new()),
            account: Account::default(),
            head: None,
            has_database: false,
            contents: 0,
            bytes: 0,
            latest: None,
        }
    }
}

impl Reader {
    /// Goes on until something is worth telling; takes what it has read off `input`. `None` when
    /// `input` is used up.
    ///
    /// # Errors
    /// The archive cannot be used, and the reader neither.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, Error> {
        loop {
            if let Some(event) = self.ended()? {
                return Ok(Some(event));
            }
            if input.is_empty() {
                return Ok(None);
            }
            match &mut self.state {
                State::Header(block) => {
                    gather(block, BLOCK_BYTES, input);
                    if let Ok(block) = <[u8; BLOCK_BYTES]>::try_from(block.as_slice())
                        && let Some(event) = self.begin(&block)?
                    {
                        return Ok(Some(event));
                    }
                }
                State::Json { size, text, .. } => {
                    gather(text, usize::try_from(*size).unwrap_or(0), input);
                }
                State::Data { left, digest, .. } => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    let (data, rest) = input.split_at(count);
                    *input = rest;
                    *left -= count as u64;
                    digest.update(data);
                    return Ok(Some(Event::Data(data)));
                }
                State::Padding { left } => pass_zeros(left, input)?,
                State::End { left: 0 } => {
                    return Err(Error::damaged("something follows its end"));
                }
                State::End { left } => pass_zeros(left, input)?,
            }
        }
    }

    /// What the archive held, once all of it was read.
    ///
    /// # Errors
    /// It is cut off.
    pub fn finish(self) -> Result<Inventory, Error> {
        match self.state {
            State::End { left: 0 } => Ok(Inventory { contents: self.contents, bytes: self.bytes }),
            State::End { .. }
            | State::Header(_)
            | State::Json { .. }
            | State::Data { .. }
            | State::Padding { .. } => Err(Error::CutOff),
        }
    }

    fn begin(&mut self, block: &[u8; BLOCK_BYTES]) -> Result<Option<Event<'static>>, Error> {
        let decoded = header::decode(block);
        // The beginning decides whether this is a damaged backup or none at all.
        let decoded = if self.head.is_none() { decoded.ok() } else { Some(decoded?) };
        let (member, size) = decoded.ok_or(Error::Foreign)?;
        self.check_turn(member)?;
        match member {
            Member::Head | Member::Trailer if size > JSON_BYTES_MAX => {
                Err(Error::damaged(format!("{member} is too long")))
            }
            Member::Head | Member::Trailer => {
                self.state = State::Json { member, size, text: Vec::new() };
                Ok(None)
            }
            Member::Database | Member::Content(_) => {
                self.bytes += size;
                self.state = State::Data { member, size, left: size, digest: Box::default() };
                Ok(Some(Event::Begin { member, size }))
            }
        }
    }

    fn check_turn(&mut self, member: Member) -> Result<(), Error> {
        let Some(head) = &self.head else {
            return if member == Member::Head { Ok(()) } else { Err(Error::Foreign) };
        };
        let in_turn = match member {
            Member::Head => false,
            Member::Database => !std::mem::replace(&mut self.has_database, true),
            Member::Content(id) => {
                self.contents += 1;
                self.has_database && self.latest.replace(id).is_none_or(|latest| latest < id)
            }
            Member::Trailer => self.has_database && self.contents == head.contents,
        };
        match in_turn {
            true => Ok(()),
            false => Err(Error::damaged(format!("{member} stands where it does not belong"))),
        }
    }

    /// Goes on to the next state, if this one has got all that it waits for.
    fn ended(&mut self) -> Result<Option<Event<'static>>, Error> {
        match &mut self.state {
            State::Json { member, size, text } if text.len() as u64 == *size => {
                let (member, text) = (*member, std::mem::take(text));
                self.end_json(member, &text)
            }
            State::Data { member, size, left: 0, digest } => {
                let (member, size) = (*member, *size);
                let content = std::mem::take(digest.as_mut()).finish();
                if let Member::Content(id) = member
                    && id != content.id
                {
                    return Err(Error::damaged(format!("{member} does not match its digest")));
                }
                self.account.add(member, size, &content.id);
                self.state = State::Padding { left: padding(size) };
                Ok(Some(Event::End(content)))
            }
            State::Padding { left: 0 } => {
                self.state = State::Header(Vec::new());
                Ok(None)
            }
            State::Header(_)
            | State::Json { .. }
            | State::Data { .. }
            | State::Padding { .. }
            | State::End { .. } => Ok(None),
        }
    }

    fn end_json(&mut self, member: Member, text: &[u8]) -> Result<Option<Event<'static>>, Error> {
        let left = padding(text.len() as u64);
        if member == Member::Trailer {
            if parse::<Trailer>(member, text)? != self.account.trailer() {
                return Err(Error::damaged("its trailer does not fit what stands before it"));
            }
            self.state = State::End { left: left + 2 * BLOCK_BYTES };
            return Ok(None);
        }
        let head: Head = parse(member, text)?;
        if head.format != FORMAT {
            return Err(Error::Format { found: head.format });
        }
        let mut digest = ContentDigest::default();
        digest.update(text);
        self.account.add(member, text.len() as u64, &digest.finish().id);
        self.head = Some(head.clone());
        self.state = State::Padding { left };
        Ok(Some(Event::Head(head)))
    }
}

fn parse<T: DeserializeOwned>(member: Member, text: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(text).map_err(|error| Error::damaged(format!("{member}: {error}")))
}

/// Moves bytes from `input` until `gathered` has `size` of them.
fn gather(gathered: &mut Vec<u8>, size: usize, input: &mut &[u8]) {
    let count = size.saturating_sub(gathered.len()).min(input.len());
    let (taken, rest) = input.split_at(count);
    gathered.extend_from_slice(taken);
    *input = rest;
}

fn pass_zeros(left: &mut usize, input: &mut &[u8]) -> Result<(), Error> {
    let (zeros, rest) = input.split_at((*left).min(input.len()));
    *left -= zeros.len();
    *input = rest;
    match zeros.iter().all(|byte| *byte == 0) {
        true => Ok(()),
        false => Err(Error::damaged("there is something between its members")),
    }
}
