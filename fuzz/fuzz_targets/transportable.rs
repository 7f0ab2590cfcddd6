//! Any bytes as the archive of a transportable object: never a panic, and what is read is written back equal.

#![no_main]

use cov_core::transportable::{Layout, TransportableObject};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|archive: &[u8]| {
    let length = archive.len() as u64;
    if let Ok(layout) = Layout::read(archive, length) {
        assert!(layout.header().end == layout.object_string().start);
        assert!(layout.object_string().end == layout.data().start);
        assert!(layout.data().end == length);
    }
    if let Ok(object) = TransportableObject::from_archive(archive) {
        let again = TransportableObject::from_archive(&object.to_archive());
        assert_eq!(again.ok().as_ref(), Some(&object));
        // Whatever the data claims to be, decoding it ends.
        object.to_json::<Vec<String>>().ok();
        object.to_bincode::<Vec<String>>().ok();
    }
});
