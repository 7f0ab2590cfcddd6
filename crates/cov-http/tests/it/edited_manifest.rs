//! A manifest with any edits, in the archive in which a task hands one over: refused or accepted,
//! never a panic. The same as the fuzz target `manifest`, on a stable compiler.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cov_core::transportable::TransportableObject;
use cov_dispatcher::store::Blob;
use cov_dispatcher::sublattice::{BuiltLattice, SublatticeFormat as _};
use cov_http::StagingArchive;
use proptest::collection::vec;
use proptest::prelude::*;

const NODES_MAX: usize = 1_000;

/// A manifest as the SDK writes it: two electrons, a parameter and the three kinds of edges.
const WHOLE: &[u8] = include_bytes!("../../../../fuzz/seeds/manifest.json");

fn read(manifest: &[u8]) -> Result<BuiltLattice, String> {
    let mut archive = tar::Builder::new(Vec::new());
    // The one asset that the whole manifest announces.
    for (name, content) in [("manifest.json", manifest), ("node_1/value.tobj", b"{}".as_slice())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, name, content).unwrap();
    }
    let object_string = STANDARD.encode(archive.into_inner().unwrap());
    let plain = TransportableObject::from_json("").unwrap();
    let output = TransportableObject { object_string, ..plain };
    StagingArchive { nodes_max: NODES_MAX }.read(&Blob::Small(output.to_archive().into()))
}

/// Bytes that JSON is made of come more often than others.
fn insert() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..8),
        "[\\[\\]{},:\"0-9a-z.-]{0,8}".prop_map(String::into_bytes),
        prop_oneof![Just("null"), Just("-1"), Just("1e99"), Just("\"\""), Just("[[[[{}]]]]")]
            .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

#[test]
fn the_manifest_that_is_edited_is_accepted() {
    let built = read(WHOLE).unwrap();
    assert_eq!((built.manifest.nodes.len(), built.assets.len()), (3, 1));
}

proptest! {
    #[test]
    fn an_edited_manifest_is_refused_or_keeps_its_promises(
        edits in vec((0..WHOLE.len(), 0..40_usize, insert()), 1..4)
    ) {
        let mut manifest = WHOLE.to_vec();
        for (at, remove, insert) in edits {
            let start = at.min(manifest.len());
            let end = (start + remove).min(manifest.len());
            manifest.splice(start..end, insert);
        }
        if let Ok(built) = read(&manifest) {
            let nodes = built.manifest.nodes.len();
            prop_assert!(nodes <= NODES_MAX);
            for asset in &built.manifest.assets {
                prop_assert!(asset.address.node.is_none_or(|node| node.index() < nodes));
            }
            // A graph, or a refusal: both are answers.
            built.manifest.graph(NODES_MAX).ok();
        }
    }

    #[test]
    fn a_manifest_that_is_cut_off_is_refused(length in 0..WHOLE.len() - 1) {
        prop_assert!(read(&WHOLE[..length]).is_err());
    }
}
