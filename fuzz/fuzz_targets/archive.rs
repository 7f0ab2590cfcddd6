//! Any members, and any bytes, as the archive in which a task hands over a sub-workflow: never a panic, nothing is
//! written anywhere, and what is taken was a regular member under a known name.

#![no_main]

use arbitrary::Arbitrary;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cov_core::transportable::{Attributes, Encoding, Header, TransportableObject};
use cov_dispatcher::store::Blob;
use cov_dispatcher::sublattice::SublatticeFormat;
use cov_http::StagingArchive;
use libfuzzer_sys::fuzz_target;

const WHOLE: &[u8] = include_bytes!("../seeds/manifest.json");

/// Names that a hostile archive would use, beside any other.
const NAMES: [&[u8]; 10] = [
    b"manifest.json",
    b"node_1/value.tobj",
    b"../manifest.json",
    b"/etc/passwd",
    b"./manifest.json",
    b"a/manifest.json",
    b"node_1/../../value.tobj",
    b"manifest.json/",
    b"node_99999999999/value.tobj",
    b"",
];

#[derive(Debug, Arbitrary)]
enum Name<'a> {
    Known(u8),
    Any(&'a [u8]),
}

#[derive(Debug, Arbitrary)]
struct Member<'a> {
    name: Name<'a>,
    kind: u8,
    link: &'a [u8],
    /// Added to the true size.
    lie: i32,
    whole: bool,
    content: &'a [u8],
}

#[derive(Debug, Arbitrary)]
enum Input<'a> {
    Members(Vec<Member<'a>>),
    Bytes(&'a [u8]),
    /// Not even an object around it.
    Bare(&'a [u8]),
}

fuzz_target!(|input: Input<'_>| {
    let output = match input {
        Input::Bare(bytes) => bytes.to_vec(),
        Input::Bytes(bytes) => object(bytes),
        Input::Members(members) => object(&archive(&members)),
    };
    let read = StagingArchive { nodes_max: 1_000 }.read(&Blob::Small(output.into()));
    if let Ok(built) = read {
        built.manifest.graph(1_000).ok();
    }
});

fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Member { name, kind, link, lie, whole, content } in members {
        let name = match name {
            Name::Known(number) => NAMES[usize::from(*number) % NAMES.len()],
            Name::Any(name) => name,
        };
        let content = if *whole { WHOLE } else { content };
        let mut header = tar::Header::new_gnu();
        put(&mut header.as_old_mut().name, name);
        put(&mut header.as_old_mut().linkname, link);
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_size((content.len() as u64).saturating_add_signed(i64::from(*lie)));
        header.set_mode(0o600);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn put(field: &mut [u8], text: &[u8]) {
    let length = field.len().min(text.len());
    field[..length].copy_from_slice(&text[..length]);
}

fn object(archive: &[u8]) -> Vec<u8> {
    let object = TransportableObject {
        header: Header {
            py_version: String::new(),
            cloudpickle_version: String::new(),
            attrs: Attributes::default(),
            encoding: Encoding::Cloudpickle,
        },
        object_string: STANDARD.encode(archive),
        data: Default::default(),
    };
    object.to_archive()
}
