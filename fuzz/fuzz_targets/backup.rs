//! Any bytes as a backup: never a panic, and an archive that is taken is one that the writer makes
//! of what was read from it.

#![no_main]

use cov_core::backup::{Event, Member, Reader, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(members) = read(bytes) {
        let contents = members.len().saturating_sub(1) as u64;
        let (mut writer, mut again) = Writer::begin(contents);
        for (member, data) in &members {
            again.extend_from_slice(&writer.member(*member, data.len() as u64));
            writer.data(data);
            again.extend_from_slice(data);
            again.extend(writer.end().expect("a member was begun").1);
        }
        again.extend(writer.finish());
        assert_eq!(read(&again).as_ref(), Some(&members));
    }
});

/// The members of a whole archive, however the bytes are cut.
fn read(bytes: &[u8]) -> Option<Vec<(Member, Vec<u8>)>> {
    let piece = usize::from(bytes.last().copied().unwrap_or(0)) * 8 + 1;
    let mut reader = Reader::default();
    let mut members = Vec::new();
    for mut input in bytes.chunks(piece) {
        while let Some(event) = reader.next(&mut input).ok()? {
            match event {
                Event::Head(_) | Event::End(_) => {}
                Event::Begin { member, .. } => members.push((member, Vec::new())),
                Event::Data(data) => {
                    members.last_mut().expect("data follow a begin").1.extend_from_slice(data);
                }
            }
        }
    }
    reader.finish().ok()?;
    Some(members)
}
