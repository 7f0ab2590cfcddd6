//! A manifest of the Covalent SDK with any edits, in the archive in which a task hands one over: never a panic, and
//! what the manifest promises of its nodes and assets holds.

#![no_main]

use arbitrary::Arbitrary;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cov_core::asset::AssetAddress;
use cov_core::transportable::{Attributes, Encoding, Header, TransportableObject};
use cov_dispatcher::store::Blob;
use cov_dispatcher::sublattice::SublatticeFormat;
use cov_http::StagingArchive;
use libfuzzer_sys::fuzz_target;

const NODES_MAX: usize = 1_000;

/// A manifest as the SDK writes it: two electrons, a parameter and the three kinds of edges.
const WHOLE: &[u8] = include_bytes!("../seeds/manifest.json");

/// What is done to the manifest at one place.
#[derive(Debug, Arbitrary)]
struct Edit<'a> {
    at: u16,
    remove: u8,
    insert: &'a [u8],
}

fuzz_target!(|edits: Vec<Edit<'_>>| {
    let mut manifest = WHOLE.to_vec();
    for Edit { at, remove, insert } in edits {
        let start = usize::from(at) % (manifest.len() + 1);
        let end = (start + usize::from(remove)).min(manifest.len());
        manifest.splice(start..end, insert.iter().copied());
    }
    let output = Blob::Small(output(&manifest).to_archive().into());
    let built = StagingArchive { nodes_max: NODES_MAX }.read(&output);
    assert!(built.is_ok() || manifest != WHOLE, "the whole manifest is refused: {built:?}");
    let Ok(built) = built else { return };
    let nodes = built.manifest.nodes.len();
    assert!(nodes <= NODES_MAX);
    let is_known = |address: &AssetAddress| address.node.is_none_or(|node| node.index() < nodes);
    assert!(built.manifest.assets.iter().all(|asset| is_known(&asset.address)));
    // A graph, or a refusal: both are answers.
    built.manifest.graph(NODES_MAX).ok();
});

/// What a task returns that built a sub-workflow: its object string is base64 of a tar.
fn output(manifest: &[u8]) -> TransportableObject {
    let mut archive = tar::Builder::new(Vec::new());
    // The one asset that the whole manifest announces.
    for (name, content) in [("manifest.json", manifest), ("node_1/value.tobj", b"{}".as_slice())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, name, content).expect("memory takes it");
    }
    let archive = archive.into_inner().expect("memory takes it");
    TransportableObject {
        header: Header {
            py_version: String::new(),
            cloudpickle_version: String::new(),
            attrs: Attributes::default(),
            encoding: Encoding::Cloudpickle,
        },
        object_string: STANDARD.encode(archive),
        data: Default::default(),
    }
}
