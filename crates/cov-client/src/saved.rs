//! Records in a folder: `<results_dir>/<dispatch id>/result.json`, and beside it a file for each
//! content that is too large for it. Saving fetches what was not fetched, straight into its file.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use cov_core::asset::AssetAddress;
use cov_core::ids::DispatchId;
use cov_core::result;
use tokio::fs;
use tokio::io::AsyncWriteExt as _;

use crate::client::Client;
use crate::error::Error;
use crate::results::left_of;

/// The name of the record in its folder.
const RECORD: &str = "result.json";

impl Client {
    /// Saves a record below `results_dir`, or below the record's own if there is none, with
    /// everything that was not fetched yet. Returns the folder. What is there of an earlier save
    /// is replaced.
    ///
    /// # Errors
    /// As [`Client::fetch`]; [`Kind::Workflow`](crate::Kind::Workflow) when a file cannot be
    /// written.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// # let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let mut record = client.get_result(&id, true, false).await?;
    /// let folder = client.save_result(&mut record, Some("results".as_ref())).await?;
    /// println!("saved in {}", folder.display());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn save_result(
        &self,
        record: &mut result::Result,
        results_dir: Option<&Path>,
    ) -> Result<PathBuf, Error> {
        if let Some(results_dir) = results_dir {
            record.results_dir = results_dir.to_owned();
        }
        let folder = record.results_dir.join(record.dispatch_id.as_str());
        create(&folder).await?;
        for (address, _) in left_of(record) {
            let path = file_of(&folder, address);
            if let Some(parent) = path.parent() {
                create(parent).await?;
            }
            self.save_asset(&record.dispatch_id, address, &path).await?;
        }
        let text = serde_json::to_vec_pretty(record).map_err(|source| Error::Workflow {
            reason: "the record has no JSON form".to_owned(),
            source: source.into(),
        })?;
        // The record last and at once, so that a folder with one is whole.
        let (path, part) = (folder.join(RECORD), folder.join("result.json.part"));
        fs::write(&part, text).await.map_err(|source| Error::file(&part, source))?;
        fs::rename(&part, &path).await.map_err(|source| Error::file(&path, source))?;
        Ok(folder)
    }

    async fn save_asset(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
        path: &Path,
    ) -> Result<(), Error> {
        let failed = |source| Error::file(path, source);
        let mut download = self.read_asset(dispatch, address, ..).await?;
        let mut file = fs::File::create(path).await.map_err(failed)?;
        while let Some(bytes) = download.next().await? {
            file.write_all(&bytes).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)
    }
}

async fn create(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).await.map_err(|source| Error::file(folder, source))
}

fn file_of(folder: &Path, address: AssetAddress) -> PathBuf {
    match address.node {
        Some(node) => folder.join(format!("node_{node}")).join(address.key.as_str()),
        None => folder.join(address.key.as_str()),
    }
}

/// Loads a record that was saved below `results_dir`. Contents that have files of their own are
/// left there: see [`read`].
///
/// # Errors
/// [`Kind::Workflow`](crate::Kind::Workflow) when there is none, or it is damaged.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
/// let record = cov_client::saved::load("results".as_ref(), &id).await?;
/// println!("{record}");
/// # Ok(())
/// # }
/// ```
pub async fn load(results_dir: &Path, dispatch: &DispatchId) -> Result<result::Result, Error> {
    let path = results_dir.join(dispatch.as_str()).join(RECORD);
    let text = fs::read(&path).await.map_err(|source| Error::file(&path, source))?;
    let record: result::Result = serde_json::from_slice(&text).map_err(|source| {
        Error::Workflow { reason: path.display().to_string(), source: source.into() }
    })?;
    Ok(result::Result { results_dir: results_dir.to_owned(), ..record })
}

/// The bytes of a content that was saved in a file of its own.
///
/// # Errors
/// [`Kind::Workflow`](crate::Kind::Workflow) when there is no such file.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # use cov_core::asset::{AssetAddress, AssetKey};
/// # use cov_core::{ids::NodeId, transportable::TransportableObject};
/// # let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
/// let record = cov_client::saved::load("results".as_ref(), &id).await?;
/// let output = AssetAddress::of_node(NodeId(0), AssetKey::Output);
/// let bytes = cov_client::saved::read(&record, output).await?;
/// let value: Vec<f64> = TransportableObject::from_archive(&bytes)?.decode()?;
/// # Ok(())
/// # }
/// ```
pub async fn read(record: &result::Result, address: AssetAddress) -> Result<Bytes, Error> {
    let folder = record.results_dir.join(record.dispatch_id.as_str());
    let path = file_of(&folder, address);
    let bytes = fs::read(&path).await.map_err(|source| Error::file(&path, source))?;
    Ok(bytes.into())
}
