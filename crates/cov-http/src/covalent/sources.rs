//! Assets that the server takes from files by itself, because the manifest says where they are. The
//! SDK does so when it is told not to push assets, which makes sense where both share a file system.
//! What is taken in goes the way of every upload, with its checks.

use std::collections::HashMap;
use std::path::PathBuf;

use bytes::BytesMut;
use cov_core::asset::AssetAddress;
use cov_core::error::ErrorCode;
use cov_core::manifest::ManifestAsset;
use cov_dispatcher::{Handle, Registered};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::error::Refusal;

/// The only scheme that is read.
const SCHEME: &str = "file://";

/// How much of a file is in memory at a time. Bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// Where the server takes assets from.
#[derive(Debug)]
pub(super) struct Sources {
    files: Vec<(AssetAddress, PathBuf)>,
}

impl Sources {
    /// Looks at every file before anything is registered.
    ///
    /// # Errors
    /// An address is none of a file, or the file is not what was announced.
    pub(super) async fn check(
        sources: Vec<(AssetAddress, String)>,
        assets: &[ManifestAsset],
    ) -> Result<Self, Refusal> {
        let mut files = Vec::with_capacity(sources.len());
        if sources.is_empty() {
            return Ok(Self { files });
        }
        let sizes: HashMap<AssetAddress, u64> =
            assets.iter().map(|asset| (asset.address, asset.announced.size)).collect();
        for (address, uri) in sources {
            let path = path_of(address, &uri)?;
            let fault = match tokio::fs::metadata(&path).await {
                Err(error) => Some(error.to_string()),
                Ok(found) if !found.is_file() => Some("it is no file".to_owned()),
                Ok(found) if sizes.get(&address) != Some(&found.len()) => {
                    Some(format!("it has {} bytes, which is not what was announced", found.len()))
                }
                Ok(_) => None,
            };
            if let Some(fault) = fault {
                return Err(cannot_take(address, &uri, &fault));
            }
            files.push((address, path));
        }
        Ok(Self { files })
    }

    /// Takes in the files that the server lacks; nobody has to upload those any more.
    ///
    /// # Errors
    /// A file cannot be read, or has changed. The dispatch is registered, and its client can still
    /// upload what is missing.
    pub(super) async fn take_in(
        self,
        handle: &Handle,
        registered: &mut Registered,
    ) -> Result<(), Refusal> {
        for (address, path) in self.files {
            if !registered.uploads.contains(&address) {
                continue;
            }
            let unreadable = |error: std::io::Error| {
                cannot_take(address, &path.to_string_lossy(), &error.to_string())
            };
            let mut file = File::open(&path).await.map_err(unreadable)?;
            let mut upload = handle.upload(&registered.dispatch, address, None).await?;
            let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
            while file.read_buf(&mut chunk).await.map_err(unreadable)? > 0 {
                upload.write(chunk.split().freeze()).await?;
                chunk.reserve(CHUNK_BYTES);
            }
            upload.finish().await?;
            registered.uploads.remove(&address);
        }
        Ok(())
    }
}

/// The SDK writes paths as they are, without any escapes.
fn path_of(address: AssetAddress, uri: &str) -> Result<PathBuf, Refusal> {
    let path = uri.strip_prefix(SCHEME).map(PathBuf::from).filter(|path| path.is_absolute());
    path.ok_or_else(|| {
        cannot_take(
            address,
            uri,
            "only file:// addresses with an absolute path can be; leave `uri` empty and upload it",
        )
    })
}

fn cannot_take(address: AssetAddress, uri: &str, fault: &str) -> Refusal {
    let shown: String = uri.chars().take(200).collect();
    let said = format!("the asset {address} cannot be taken from {shown}: {fault}");
    Refusal::new(ErrorCode::InvalidBody, said)
}
