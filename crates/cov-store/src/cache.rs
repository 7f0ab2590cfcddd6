//! Small contents that were read or committed lately, bounded by their bytes. Checks nothing:
//! what is put in was checked before.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use cov_core::ids::ContentId;

/// Counted for each entry beside its bytes: keys, links and allocation, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 160;

/// A map that forgets what was not asked for longest.
#[derive(Debug)]
pub(crate) struct SmallContents {
    entries: HashMap<ContentId, (Bytes, u64)>,
    by_use: BTreeMap<u64, ContentId>,
    clock: u64,
    bytes: usize,
    bytes_max: usize,
}

impl SmallContents {
    /// An empty map that holds at most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: HashMap::new(), by_use: BTreeMap::new(), clock: 0, bytes: 0, bytes_max }
    }

    /// The bytes of `id`, if they are here; it becomes the one used last.
    pub(crate) fn get(&mut self, id: &ContentId) -> Option<Bytes> {
        let (bytes, used) = self.entries.get_mut(id)?;
        self.by_use.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.by_use.insert(self.clock, *id);
        Some(bytes.clone())
    }

    /// Keeps a copy of `bytes`, so that a slice does not hold on to the whole of its buffer.
    pub(crate) fn put(&mut self, id: ContentId, bytes: &[u8]) {
        let cost = bytes.len() + ENTRY_OVERHEAD_BYTES;
        if cost > self.bytes_max || self.entries.contains_key(&id) {
            return;
        }
        while self.bytes + cost > self.bytes_max {
            self.forget_oldest();
        }
        self.clock += 1;
        self.bytes += cost;
        self.by_use.insert(self.clock, id);
        self.entries.insert(id, (Bytes::copy_from_slice(bytes), self.clock));
    }

    /// Forgets `id`.
    pub(crate) fn forget(&mut self, id: &ContentId) {
        let Some((bytes, used)) = self.entries.remove(id) else { return };
        self.by_use.remove(&used);
        self.bytes -= bytes.len() + ENTRY_OVERHEAD_BYTES;
    }

    fn forget_oldest(&mut self) {
        let Some((_, id)) = self.by_use.pop_first() else { return };
        if let Some((bytes, _)) = self.entries.remove(&id) {
            self.bytes -= bytes.len() + ENTRY_OVERHEAD_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ContentId {
        ContentId::from_bytes([number; 32])
    }

    #[test]
    fn the_entry_not_used_longest_goes_first() {
        let mut cache = SmallContents::new(2 * (100 + ENTRY_OVERHEAD_BYTES));
        cache.put(id(1), &[1; 100]);
        cache.put(id(2), &[2; 100]);
        assert!(cache.get(&id(1)).is_some());
        cache.put(id(3), &[3; 100]);
        assert!(cache.get(&id(2)).is_none());
        assert_eq!(cache.get(&id(1)).unwrap(), Bytes::from(vec![1; 100]));
        assert_eq!(cache.get(&id(3)).unwrap(), Bytes::from(vec![3; 100]));
    }

    #[test]
    fn what_is_forgotten_makes_room() {
        let mut cache = SmallContents::new(100 + ENTRY_OVERHEAD_BYTES);
        cache.put(id(1), &[1; 100]);
        cache.forget(&id(1));
        cache.forget(&id(2));
        assert!(cache.get(&id(1)).is_none());
        assert_eq!((cache.bytes, cache.by_use.len()), (0, 0));
    }

    #[test]
    fn what_does_not_fit_is_not_kept_and_nothing_counts_twice() {
        let mut cache = SmallContents::new(1_000);
        cache.put(id(1), &[0; 2_000]);
        assert!(cache.get(&id(1)).is_none());
        for _ in 0..100 {
            cache.put(id(2), &[0; 100]);
        }
        assert_eq!(cache.bytes, 100 + ENTRY_OVERHEAD_BYTES);
        assert_eq!(cache.by_use.len(), 1);
    }
}
