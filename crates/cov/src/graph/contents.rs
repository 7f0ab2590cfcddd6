//! The bytes of a graph's assets, each content once.

use std::collections::HashMap;

use bytes::Bytes;

#[derive(Debug, Default)]
pub(super) struct Contents {
    known: HashMap<Bytes, u32>,
    bytes: Vec<Bytes>,
}

impl Contents {
    /// Takes in a content and returns its index: the same for the same bytes.
    pub(super) fn add(&mut self, bytes: Vec<u8>) -> u32 {
        if let Some(index) = self.known.get(bytes.as_slice()) {
            return *index;
        }
        let bytes = Bytes::from(bytes);
        let index = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.push(bytes.clone());
        self.known.insert(bytes, index);
        index
    }

    /// All contents, by index.
    pub(super) fn into_bytes(self) -> Vec<Bytes> {
        self.bytes
    }
}
