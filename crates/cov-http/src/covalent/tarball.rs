//! Reads the archive in which a task hands over a sub-workflow that it could not register
//! itself: the object string of its output is base64 of a tar, with `manifest.json` and the
//! assets beside it. Comes from a task, so nothing in it is trusted: only regular files under
//! known names are read, into memory, up to a limit.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};

use base64::engine::general_purpose::STANDARD;
use base64::read::DecoderReader;
use bytes::Bytes;
use cov_core::asset::{AssetAddress, SmallContent};
use cov_core::manifest::Manifest;
use cov_core::transportable::Layout;
use cov_dispatcher::store::Blob;
use cov_dispatcher::sublattice::{BuiltLattice, SublatticeFormat};

use super::long_names::LongNames;
use super::manifest;
use super::names::parse_object_key;

/// Most bytes that one archive may have.
const FILES_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Most members that one archive may hold.
const MEMBERS_MAX: usize = 20_000_000;

const MANIFEST: &str = "manifest.json";

/// The staging archive of Covalent's SDK.
#[derive(Debug, Clone, Copy)]
pub struct StagingArchive {
    /// Most nodes that the sub-workflow may have.
    pub nodes_max: usize,
}

impl SublatticeFormat for StagingArchive {
    fn read(&self, output: &Blob) -> Result<BuiltLattice, String> {
        match output {
            Blob::Small(bytes) => self.read_from(Cursor::new(bytes), bytes.len() as u64),
            Blob::File { path, size } => {
                let file = File::open(path).map_err(|error| error.to_string())?;
                self.read_from(file, *size)
            }
        }
    }
}

impl StagingArchive {
    fn read_from(self, mut output: impl Read + Seek, size: u64) -> Result<BuiltLattice, String> {
        let mut prefix = [0; 16];
        output.read_exact(&mut prefix).map_err(|_end| "it is cut off".to_owned())?;
        let layout = Layout::read(&prefix, size).map_err(|error| error.to_string())?;
        let text = layout.object_string();
        output.seek(SeekFrom::Start(text.start)).map_err(|error| error.to_string())?;
        let archive = DecoderReader::new(output.take(text.end - text.start), &STANDARD);
        // Names that have a member of their own are read into memory too, and are no files.
        let files = read_files(archive.take(FILES_BYTES_MAX))?;
        let (folder, manifest) = find_manifest(&files)?;
        let manifest::Sent { manifest, .. } =
            manifest::parse(manifest, self.nodes_max, &LongNames::default()).map_err(
                |refusal| format!("its manifest is refused: {}", refusal.public_detail()),
            )?;
        let assets = assets_of(&manifest, folder, &files)?;
        Ok(BuiltLattice { manifest: Manifest { dispatch_id: None, ..manifest }, assets })
    }
}

fn read_files(archive: impl Read) -> Result<HashMap<String, Bytes>, String> {
    let unreadable = |error: std::io::Error| format!("its archive cannot be read: {error}");
    let mut files = HashMap::new();
    let mut total = 0_u64;
    let mut archive = tar::Archive::new(archive);
    for member in archive.entries().map_err(unreadable)? {
        let mut member = member.map_err(unreadable)?;
        if !member.header().entry_type().is_file() {
            continue;
        }
        total = total.saturating_add(member.size());
        if total > FILES_BYTES_MAX || files.len() >= MEMBERS_MAX {
            return Err(format!("its archive holds more than {FILES_BYTES_MAX} bytes"));
        }
        let path = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).map_err(unreadable)?;
        files.insert(path, Bytes::from(bytes));
    }
    Ok(files)
}

/// The manifest and the folder that it stands in: the one nearest to the top.
fn find_manifest(files: &HashMap<String, Bytes>) -> Result<(&str, &Bytes), String> {
    files
        .iter()
        .filter_map(|(path, bytes)| {
            let folder = path.strip_suffix(MANIFEST)?;
            (folder.is_empty() || folder.ends_with('/')).then_some((folder, bytes))
        })
        .min_by_key(|(folder, _)| folder.len())
        .ok_or_else(|| "its archive has no manifest.json".to_owned())
}

/// The bytes of every announced asset, checked against what the manifest says of them.
fn assets_of(
    manifest: &Manifest,
    folder: &str,
    files: &HashMap<String, Bytes>,
) -> Result<Vec<(AssetAddress, Bytes)>, String> {
    let mut present = HashMap::new();
    for (path, bytes) in files {
        let Some(name) = path.strip_prefix(folder) else { continue };
        // Object names are those of uploads; any dispatch id stands in for the folder.
        if let Some((_, address)) = parse_object_key(&format!("staged/{name}")) {
            present.insert(address, bytes);
        }
    }
    let mut assets = Vec::with_capacity(manifest.assets.len());
    for asset in &manifest.assets {
        let bytes = present
            .get(&asset.address)
            .ok_or_else(|| format!("its archive lacks {}", asset.address))?;
        let found = SmallContent::new((*bytes).clone()).content;
        let as_announced = found.size == asset.announced.size
            && asset.announced.sha1.is_none_or(|sha1| sha1 == found.sha1);
        if !as_announced {
            return Err(format!("{} in its archive is not what its manifest says", asset.address));
        }
        assets.push((asset.address, (*bytes).clone()));
    }
    Ok(assets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cov_core::transportable::{Attributes, Encoding, Header, TransportableObject};

    fn recorded() -> Vec<u8> {
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/golden");
        let mut found = None;
        for file in std::fs::read_dir(golden.join("08_sublattice_tarball/assets")).unwrap() {
            let path = file.unwrap().path();
            if path.to_string_lossy().contains("not_on_the_wire") {
                let mut unpacked = Vec::new();
                let mut packed = flate2::read::GzDecoder::new(File::open(path).unwrap());
                packed.read_to_end(&mut unpacked).unwrap();
                found = Some(unpacked);
            }
        }
        found.expect("the recorded build output")
    }

    fn built(object_string: &str) -> Blob {
        let object = TransportableObject {
            header: Header {
                py_version: "3.11.7".into(),
                cloudpickle_version: "3.1.1".into(),
                attrs: Attributes::default(),
                encoding: Encoding::Cloudpickle,
            },
            object_string: object_string.into(),
            data: Bytes::new(),
        };
        Blob::Small(object.to_archive().into())
    }

    #[test]
    fn a_recorded_archive_is_read_whole() {
        let format = StagingArchive { nodes_max: 100 };
        let built = format.read(&Blob::Small(recorded().into())).unwrap();
        assert!(!built.manifest.nodes.is_empty());
        assert_eq!(built.assets.len(), built.manifest.assets.len());
        assert_eq!(built.manifest.dispatch_id, None);
    }

    /// An archive with one member, whose header may say anything.
    fn member(name: &[u8], kind: tar::EntryType, size: u64, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o600);
        header.set_cksum();
        let mut bytes = [header.as_bytes().as_slice(), content].concat();
        bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
        bytes
    }

    #[test]
    fn hostile_archives_are_refused_and_reach_no_file() {
        use base64::Engine as _;
        use tar::EntryType as Kind;
        let format = StagingArchive { nodes_max: 100 };
        let manifest = b"manifest.json".as_slice();
        let (honest, huge) = (2, u64::from(u32::MAX));
        for (what, bytes) in [
            ("a symbolic link", member(manifest, Kind::Symlink, 0, b"")),
            ("a hard link", member(manifest, Kind::Link, 0, b"")),
            ("a device", member(manifest, Kind::Char, 0, b"")),
            ("a sparse file", member(manifest, Kind::GNUSparse, huge, b"")),
            ("a length that lies", member(manifest, Kind::Regular, huge, b"{}")),
            ("a long name that lies", member(b"x", Kind::GNULongName, huge, b"{}")),
            ("an extension that lies", member(b"x", Kind::XHeader, huge, b"{}")),
            ("another name", member(b"../../manifest.jso", Kind::Regular, honest, b"{}")),
            ("no manifest", member(b"../manifest.json", Kind::Regular, honest, b"{}")),
            ("an absolute path", member(b"/etc/manifest.json", Kind::Regular, honest, b"{}")),
            (
                "a nested archive",
                member(manifest, Kind::Regular, 1536, &member(manifest, Kind::Regular, 0, b"")),
            ),
            ("nothing but zeros", vec![0; 1 << 20]),
        ] {
            let output = built(&STANDARD.encode(bytes));
            let reason = format.read(&output).unwrap_err();
            assert!(!reason.is_empty() && reason.len() < 500, "{what}: {reason}");
        }
    }

    #[test]
    fn what_is_no_archive_is_refused_in_words() {
        let format = StagingArchive { nodes_max: 100 };
        let reason = |blob: &Blob| format.read(blob).unwrap_err();
        assert!(reason(&Blob::Small(Bytes::from_static(b"short"))).contains("cut off"));
        assert!(reason(&built("")).contains("no manifest.json"));
        assert!(reason(&built("not base64 !")).contains("cannot be read"));
    }
}
