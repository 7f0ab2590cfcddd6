//! The assets of many nodes as one value of a statement: each row that crosses from a connection's
//! thread costs more than all that is done with it.

use cov_core::asset::{AssetAddress, AssetState};

use super::{Reading, asset_of};

/// Bytes of one asset.
const RECORD_BYTES: usize = 79;

/// One value for all rows of `assets a LEFT JOIN contents c`, in the order in which they are found:
/// for each a letter, the node's number above [`NO_NODE`](super::NO_NODE), the key and the size in
/// hexadecimal digits, and the two digests as they are. Numbers of a fixed width, and nothing
/// between them.
macro_rules! packed_assets {
    () => {
        "CAST(group_concat(printf('%s%08x%02x%016x', \
         iif(a.content IS NULL, iif(a.sha1 IS NULL, 's', 'd'), iif(c.id IS NULL, '?', 'p')), \
         a.node + 1, a.key, coalesce(c.size, a.size, 0)) \
         || CAST(ifnull(c.id, zeroblob(32)) AS TEXT) \
         || CAST(coalesce(c.sha1, a.sha1, zeroblob(20)) AS TEXT), '') AS BLOB)"
    };
}
pub(in crate::sqlite) use packed_assets;

/// Assets as statements have packed them.
#[derive(Debug, Default)]
pub(in crate::sqlite) struct PackedAssets(Vec<Vec<u8>>);

impl PackedAssets {
    /// Adds what one statement returned: nothing, if there were no rows.
    pub(in crate::sqlite) fn push(&mut self, packed: Option<Vec<u8>>) {
        self.0.extend(packed);
    }

    /// The assets one by one, each checked. What was read is let go on the way.
    pub(in crate::sqlite) fn into_assets(
        self,
    ) -> impl Iterator<Item = Reading<(AssetAddress, AssetState)>> {
        self.0.into_iter().flat_map(|packed| {
            let starts = (0..packed.len()).step_by(RECORD_BYTES);
            starts.map(move |start| unpack(packed.get(start..start + RECORD_BYTES)))
        })
    }
}

fn unpack(record: Option<&[u8]>) -> Reading<(AssetAddress, AssetState)> {
    let cut_off = || "an asset is cut off".to_owned();
    let (numbers, digests) = record.ok_or_else(cut_off)?.split_at(27);
    let (id, sha1) = digests.split_at(32);
    let number = |range: std::ops::Range<usize>| {
        let digits = numbers.get(range).and_then(|digits| std::str::from_utf8(digits).ok());
        let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.map(u64::cast_signed).ok_or_else(cut_off)
    };
    let (node, key, size) = (number(1..9)? - 1, number(9..11)?, number(11..27)?);
    let (id, size, sha1) = match numbers.first() {
        Some(b'p') => (Some(id), Some(size), Some(sha1)),
        Some(b'd') => (None, Some(size), Some(sha1)),
        Some(b's') => (None, Some(size), None),
        _ => (None, None, None),
    };
    asset_of(node, key, id, size, sha1)
}
