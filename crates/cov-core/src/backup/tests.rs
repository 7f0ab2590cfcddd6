//! Archives are read as they were written, in pieces of any size; nothing else is.

use proptest::prelude::*;

use super::*;
use crate::asset::SmallContent;

/// An archive with this database and these contents.
fn archive(database: &[u8], contents: &[&[u8]]) -> Vec<u8> {
    let mut named: Vec<(ContentId, &[u8])> = contents
        .iter()
        .map(|data| (SmallContent::new(data.to_vec().into()).content.id, *data))
        .collect();
    named.sort_unstable();
    named.dedup();
    let (mut writer, mut bytes) = Writer::begin(named.len() as u64);
    let members = named.into_iter().map(|(id, data)| (Member::Content(id), data));
    for (member, data) in std::iter::once((Member::Database, database)).chain(members) {
        bytes.extend_from_slice(&writer.member(member, data.len() as u64));
        writer.data(data);
        bytes.extend_from_slice(data);
        bytes.extend(writer.end().unwrap().1);
    }
    bytes.extend(writer.finish());
    bytes
}

/// Names and data.
type Members = Vec<(String, Vec<u8>)>;

/// The members of an archive that is read in pieces.
fn read(bytes: &[u8], piece: usize) -> Result<(Members, Inventory), Error> {
    let mut reader = Reader::default();
    let mut members = Vec::new();
    for mut input in bytes.chunks(piece.max(1)) {
        while let Some(event) = reader.next(&mut input)? {
            match event {
                Event::Head(head) => assert_eq!(head.format, FORMAT),
                Event::Begin { member, .. } => members.push((member.to_string(), Vec::new())),
                Event::Data(data) => members.last_mut().unwrap().1.extend_from_slice(data),
                Event::End(content) => {
                    assert_eq!(content.size, members.last().unwrap().1.len() as u64);
                }
            }
        }
    }
    Ok((members, reader.finish()?))
}

fn sample() -> Vec<u8> {
    archive(&[7; 1300], &[b"one", &[9; 512], b""])
}

#[test]
fn what_was_written_is_read() {
    for piece in [1, 3, 511, 512, 513, 1 << 20] {
        let (members, inventory) = read(&sample(), piece).unwrap();
        assert_eq!(inventory, Inventory { contents: 3, bytes: 1300 + 3 + 512 });
        assert_eq!(members[0], ("dispatches.sqlite".to_owned(), vec![7; 1300]));
        assert_eq!(members.len(), 4);
        assert!(members.iter().skip(1).all(|(name, _)| name.starts_with("contents/")));
    }
}

#[test]
fn every_archive_that_ends_early_is_cut_off() {
    let whole = sample();
    for end in 0..whole.len() {
        assert_eq!(read(&whole[..end], 1 << 20), Err(Error::CutOff), "{end}");
    }
    let longer = [whole, vec![0]].concat();
    assert!(matches!(read(&longer, 700), Err(Error::Damaged { .. })));
}

#[test]
fn no_changed_byte_is_overlooked() {
    let whole = sample();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert!(read(&changed, 4096).is_err(), "byte {at}");
    }
}

#[test]
fn strange_paths_kinds_and_orders_are_refused() {
    let retitled = |name: &str| {
        let mut block = header::encode(Member::Database, 5);
        block[..100].fill(0);
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    };
    let id = "ab".repeat(32);
    for name in [
        "/dispatches.sqlite",
        "../dispatches.sqlite",
        "./dispatches.sqlite",
        "contents/../../etc/passwd",
        &format!("contents/cd/{id}"),
        &format!("contents/ab/{}", id.to_uppercase()),
        "server.lock",
        "",
    ] {
        assert!(header::decode(&retitled(name)).is_err(), "{name:?}");
    }
    assert!(header::decode(&retitled("dispatches.sqlite")).is_ok());
    assert!(header::decode(&retitled(&format!("contents/ab/{id}"))).is_ok());
    let mut link = header::encode(Member::Database, 0);
    link[156] = b'2';
    assert!(header::decode(&link).is_err());

    let (mut writer, mut bytes) = Writer::begin(0);
    for _ in 0..2 {
        bytes.extend_from_slice(&writer.member(Member::Database, 0));
        bytes.extend(writer.end().unwrap().1);
    }
    bytes.extend(writer.finish());
    assert!(read(&bytes, 512).unwrap_err().to_string().contains("does not belong"));
}

#[test]
fn what_is_no_backup_is_told_from_a_damaged_one() {
    for foreign in [vec![0; 1024], vec![b'x'; 600]] {
        assert_eq!(read(&foreign, 100), Err(Error::Foreign));
    }
    let head = br#"{"format":2,"release":"9","contents":0}"#;
    let mut bytes = header::encode(Member::Head, head.len() as u64).to_vec();
    bytes.extend_from_slice(head);
    assert_eq!(read(&bytes, 100), Err(Error::Format { found: 2 }));
}

#[test]
fn sizes_beyond_octal_are_kept() {
    for size in [0, 1, (1 << 33) - 1, 1 << 33, u64::MAX] {
        let block = header::encode(Member::Database, size);
        assert_eq!(header::decode(&block), Ok((Member::Database, size)));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..3000), piece in 1usize..900) {
        prop_assert!(read(&bytes, piece).is_err());
    }

    #[test]
    fn a_sound_beginning_with_any_rest_is_answered(
        cut in 0usize..4096,
        rest in proptest::collection::vec(any::<u8>(), 1..1500),
    ) {
        let whole = sample();
        let mut bytes = whole[..cut.min(whole.len())].to_vec();
        bytes.extend_from_slice(&rest);
        prop_assert_eq!(read(&bytes, 4096).is_ok(), bytes == whole);
    }
}
