//! The archive layout, byte for byte, and properties of what is refused.

use proptest::prelude::*;

use super::*;

/// The worked example of the protocol document: the object `None`.
fn archive_of_none() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&108_u64.to_be_bytes());
    bytes.extend_from_slice(&112_u64.to_be_bytes());
    bytes.extend_from_slice(
        br#"{"py_version": "3.11.7", "cloudpickle_version": "3.1.1", "attrs": {"doc": null, "name": ""}}"#,
    );
    bytes.extend_from_slice(b"NonegAVOLg==");
    bytes
}

#[test]
fn the_worked_example_reads_and_writes_byte_for_byte() {
    let archive = archive_of_none();
    assert_eq!(archive.len(), 120);
    let object = TransportableObject::from_archive(&archive).unwrap();
    assert_eq!(object.object_string, "None");
    assert_eq!(&object.data[..], b"\x80\x05N.");
    assert_eq!(object.header.py_version, "3.11.7");
    assert_eq!(object.to_archive(), archive);
    let mut digest = crate::asset::ContentDigest::default();
    digest.update(&archive);
    assert_eq!(digest.finish().sha1.to_string(), "9058936b2eeae8ec35678c7b34992b6d617d476a");
}

#[test]
fn recorded_archives_are_written_as_they_were_read() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/golden");
    let mut checked = 0;
    for folder in std::fs::read_dir(golden).unwrap() {
        let assets = folder.unwrap().path().join("assets");
        let Ok(files) = std::fs::read_dir(assets) else { continue };
        for file in files {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let Ok(object) = TransportableObject::from_archive(&bytes) else { continue };
            // Recordings mask directories in header and string after the offsets were written.
            if object.header.py_version.is_empty() {
                continue;
            }
            assert_eq!(object.to_archive(), bytes, "{}", path.display());
            checked += 1;
        }
    }
    assert!(checked > 200, "only {checked} recorded archives were found");
}

#[test]
fn offsets_that_lie_are_refused() {
    let refused = |first: u64, second: u64| {
        let mut archive = archive_of_none();
        archive[..8].copy_from_slice(&first.to_be_bytes());
        archive[8..16].copy_from_slice(&second.to_be_bytes());
        assert!(
            matches!(
                TransportableObject::from_archive(&archive),
                Err(Error::Offsets { .. } | Error::HeaderTooLong { .. })
            ),
            "{first} {second}"
        );
    };
    refused(0, 112);
    refused(15, 112);
    refused(112, 108);
    refused(108, 121);
    refused(u64::MAX, u64::MAX);
    refused(108, u64::MAX);
}

#[test]
fn other_languages_say_how_they_encode() {
    let object = TransportableObject::from_bincode(&(1_u8, "a"), "(1, a)".into()).unwrap();
    let read = TransportableObject::from_archive(&object.to_archive()).unwrap();
    assert_eq!(read.to_bincode::<(u8, String)>().unwrap(), (1, "a".to_owned()));
    assert!(matches!(read.to_json::<u8>(), Err(Error::Encoding { .. })));
}

/// An archive with this header and this text behind it.
fn archive_with(header: &str, data: &[u8]) -> Vec<u8> {
    let offset = (16 + header.len() as u64).to_be_bytes();
    [&offset[..], &offset[..], header.as_bytes(), data].concat()
}

#[test]
fn data_is_read_in_both_forms_and_pickles_stay_in_base64() {
    let in_base64 = archive_with(r#"{"encoding": "json"}"#, b"WzEsIDJd");
    let binary = archive_with(r#"{"encoding": "json", "binary": true}"#, b"[1, 2]");
    for archive in [in_base64, binary] {
        let object = TransportableObject::from_archive(&archive).unwrap();
        assert_eq!(object.to_json::<Vec<u8>>().unwrap(), [1, 2]);
        assert_eq!(TransportableObject::from_bytes(&archive.into()).unwrap(), object);
        let written = object.to_archive();
        assert!(written.ends_with(b"[1, 2]"), "{written:?}");
        assert_eq!(object.to_parts().concat(), written);
    }
    let pickle = TransportableObject::from_archive(&archive_of_none()).unwrap();
    assert_eq!(pickle.to_parts().concat(), archive_of_none());
    let damaged = archive_with(r#"{"encoding": "json"}"#, b"[1, 2]");
    assert!(matches!(TransportableObject::from_archive(&damaged), Err(Error::Base64(_))));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _outcome = TransportableObject::from_archive(&bytes).is_ok();
    }

    #[test]
    fn small_changes_of_a_real_archive_are_read_or_refused(at in 0_usize..120, value: u8) {
        let mut archive = archive_of_none();
        archive[at] = value;
        if let Ok(object) = TransportableObject::from_archive(&archive) {
            let again = TransportableObject::from_archive(&object.to_archive()).unwrap();
            prop_assert_eq!(again, object);
        }
    }

    #[test]
    fn what_is_written_is_read(
        name in ".*", doc in prop::option::of(".*"), text in ".*",
        data in prop::collection::vec(any::<u8>(), 0..200),
        encoding in prop::sample::select(vec![
            Encoding::Cloudpickle, Encoding::Bincode, Encoding::Json, Encoding::Array,
        ]),
    ) {
        let object = TransportableObject {
            header: Header {
                py_version: "3.11.7".into(),
                cloudpickle_version: "3.1.1".into(),
                attrs: Attributes { doc, name },
                encoding,
            },
            object_string: text,
            data: data.into(),
        };
        let read = TransportableObject::from_archive(&object.to_archive()).unwrap();
        prop_assert_eq!(read, object);
    }
}
