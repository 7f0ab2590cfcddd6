//! The bytes of a graph's assets, each content once.

use std::collections::HashMap;

use bytes::Bytes;
use cov_core::asset::{ContentRef, SmallContent};
use cov_core::ids::ContentId;

#[derive(Debug, Default)]
pub(super) struct Contents {
    known: HashMap<ContentId, u32>,
    contents: Vec<(Bytes, ContentRef)>,
}

impl Contents {
    /// Takes in a content and returns its index: the same for the same bytes.
    pub(super) fn add(&mut self, bytes: Vec<u8>) -> u32 {
        let SmallContent { content, bytes } = SmallContent::new(bytes.into());
        let next = u32::try_from(self.contents.len()).unwrap_or(u32::MAX);
        let index = *self.known.entry(content.id).or_insert(next);
        if index == next {
            self.contents.push((bytes, content));
        }
        index
    }

    /// All contents with their names, by index.
    pub(super) fn into_named(self) -> Vec<(Bytes, ContentRef)> {
        self.contents
    }
}
