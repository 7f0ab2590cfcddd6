//! Writes an archive, piece by piece. What comes out has to be sent on in order.

use super::{Account, BLOCK_BYTES, FORMAT, Head, Member, header, padding};
use crate::asset::{ContentDigest, ContentRef};

/// Makes the pieces of one archive: [`Writer::begin`], the data of each member through
/// [`Writer::data`], and [`Writer::finish`].
#[derive(Debug, Default)]
pub struct Writer {
    account: Account,
    member: Option<(Member, ContentDigest)>,
}

impl Writer {
    /// Begins an archive with so many large contents; returns its first bytes.
    #[must_use]
    pub fn begin(contents: u64) -> (Self, Vec<u8>) {
        let head = Head { format: FORMAT, release: env!("CARGO_PKG_VERSION").to_owned(), contents };
        let mut writer = Self::default();
        let bytes = writer.json(Member::Head, &head);
        (writer, bytes)
    }

    /// Begins a member of `size` bytes; returns what stands before its data.
    #[must_use]
    pub fn member(&mut self, member: Member, size: u64) -> [u8; BLOCK_BYTES] {
        self.member = Some((member, ContentDigest::default()));
        header::encode(member, size)
    }

    /// Takes note of the next data of the member. They go into the archive as they are.
    pub fn data(&mut self, bytes: &[u8]) {
        if let Some((_, digest)) = &mut self.member {
            digest.update(bytes);
        }
    }

    /// Ends the member; returns what its data were, for the caller to compare, and what stands
    /// behind them. `None` when no member was begun.
    #[must_use]
    pub fn end(&mut self) -> Option<(ContentRef, Vec<u8>)> {
        let (member, digest) = self.member.take()?;
        let content = digest.finish();
        self.account.add(member, content.size, &content.id);
        Some((content, vec![0; padding(content.size)]))
    }

    /// Ends the archive; returns its last bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let trailer = self.account.trailer();
        let mut bytes = self.json(Member::Trailer, &trailer);
        bytes.resize(bytes.len() + 2 * BLOCK_BYTES, 0);
        bytes
    }

    fn json(&mut self, member: Member, value: &impl serde::Serialize) -> Vec<u8> {
        // Plain records of numbers and short texts: writing them into memory cannot fail.
        let text = serde_json::to_vec(value).unwrap_or_default();
        let mut bytes = self.member(member, text.len() as u64).to_vec();
        self.data(&text);
        bytes.extend_from_slice(&text);
        bytes.extend(self.end().map(|(_, padding)| padding).unwrap_or_default());
        bytes
    }
}
