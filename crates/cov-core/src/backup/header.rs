//! The header of one member, as POSIX (ustar) has it, with the numbers of GNU tar for sizes of
//! 8 GiB and more. Everything but name and size is fixed.

use super::{BLOCK_BYTES, Error, Member};

const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const SUM: std::ops::Range<usize> = 148..156;

/// Everything that is the same in every header.
const FIXED: [(usize, &[u8]); 6] = [
    (100, b"0000600\0"),
    (108, b"0000000\0"),
    (116, b"0000000\0"),
    (136, b"00000000000\0"),
    (156, b"0"),
    (257, b"ustar\x0000"),
];

/// The first size that eleven octal digits cannot hold.
const OCTAL_END: u64 = 1 << 33;

/// The header of `member` with `size` bytes.
pub(super) fn encode(member: Member, size: u64) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    put(&mut block, NAME.start, member.to_string().as_bytes());
    for (at, bytes) in FIXED {
        put(&mut block, at, bytes);
    }
    match size < OCTAL_END {
        true => put(&mut block, SIZE.start, format!("{size:011o}\0").as_bytes()),
        false => {
            put(&mut block, SIZE.start, &[0x80]);
            put(&mut block, SIZE.end - 8, &size.to_be_bytes());
        }
    }
    // The sum is taken as if its own field were spaces.
    put(&mut block, SUM.start, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, SUM.start, format!("{sum:06o}\0 ").as_bytes());
    block
}

/// The member and its size.
///
/// # Errors
/// The block is not what [`encode`] makes of any member.
pub(super) fn decode(block: &[u8; BLOCK_BYTES]) -> Result<(Member, u64), Error> {
    let refused = || Error::damaged("a member has a header that no backup has");
    let name = block.get(NAME).unwrap_or_default();
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let name = name.get(..end).and_then(|name| std::str::from_utf8(name).ok());
    let member = name.and_then(Member::parse).ok_or_else(refused)?;
    let size = size_of(block.get(SIZE).unwrap_or_default()).ok_or_else(refused)?;
    match encode(member, size) == *block {
        true => Ok((member, size)),
        false => Err(refused()),
    }
}

fn size_of(field: &[u8]) -> Option<u64> {
    match field {
        [0x80, .., a, b, c, d, e, f, g, h] => {
            Some(u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
        }
        [digits @ .., 0] => u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok(),
        _ => None,
    }
}

fn put(block: &mut [u8; BLOCK_BYTES], at: usize, bytes: &[u8]) {
    for (place, byte) in block.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}
