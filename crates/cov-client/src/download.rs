//! Bytes on their way from the server: assets, logs while they grow, backups. Holds one chunk at a
//! time.

use std::ops::Bound;
use std::ops::RangeBounds;
use std::time::Duration;

use bytes::Bytes;
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::ids::{DispatchId, NodeId};
use http::HeaderValue;
use http::header::RANGE;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::client::{Call, Client, Opened};
use crate::error::Error;

/// Most memory that is reserved for bytes that are announced and not there yet. Bytes.
const ROOM_BYTES_MAX: usize = 256 << 20;

/// Bytes on their way from the server.
///
/// ```no_run
/// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use cov_core::asset::{AssetAddress, AssetKey};
/// use cov_core::ids::NodeId;
///
/// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
/// let output = AssetAddress::of_node(NodeId(0), AssetKey::Output);
/// let mut download = client.read_asset(&id, output, ..).await?;
/// while let Some(bytes) = download.next().await? {
///     println!("{} bytes", bytes.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Download {
    body: Incoming,
    url: String,
    limit: Duration,
}

impl Download {
    pub(crate) fn new(opened: Opened, limit: Duration) -> Self {
        Self { body: opened.body, url: opened.url, limit }
    }

    /// The next bytes; `None` behind the last.
    ///
    /// # Errors
    /// The connection broke, or nothing came for as long as one try may take.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// use cov_core::asset::{AssetAddress, AssetKey};
    /// let result = AssetAddress::of_dispatch(AssetKey::Result);
    /// let mut download = client.read_asset(&id, result, ..).await?;
    /// while let Some(bytes) = download.next().await? {
    ///     println!("{} bytes", bytes.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Self { body, url, limit } = self;
        loop {
            let frame = tokio::time::timeout(*limit, body.frame()).await;
            let frame = frame.map_err(|_elapsed| Error::TimedOut {
                url: url.clone(),
                tries: 1,
                limit: *limit,
            })?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| Error::Interrupted {
                url: url.clone(),
                tries: 1,
                source: Box::new(error),
            })?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
    }

    /// All bytes.
    ///
    /// # Errors
    /// As [`Download::next`]; more than `limit` bytes.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// use cov_core::asset::{AssetAddress, AssetKey};
    /// let result = AssetAddress::of_dispatch(AssetKey::Result);
    /// let bytes = client.read_asset(&id, result, ..).await?.collect(1_000_000).await?;
    /// println!("{} bytes", bytes.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, Error> {
        let announced = self.body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
        let room = announced.unwrap_or_default().min(limit).min(ROOM_BYTES_MAX);
        let mut all = bytes::BytesMut::with_capacity(room);
        while let Some(chunk) = self.next().await? {
            if all.len() + chunk.len() > limit {
                return Err(Error::TooLarge { url: self.url, tries: 1, limit });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

impl Client {
    /// Begins to read the bytes of an asset, or a part of them. A log of a running task is read
    /// as far as it is.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch or node, or an asset that
    /// is not there; [`Kind::Refused`](crate::Kind::Refused) for a part behind its end; otherwise
    /// whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// # use cov_core::asset::{AssetAddress, AssetKey};
    /// # use cov_core::ids::NodeId;
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let printed = AssetAddress::of_node(NodeId(0), AssetKey::Stdout);
    /// let beginning = client.read_asset(&id, printed, ..1024).await?.collect(1024).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read_asset(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
        part: impl RangeBounds<u64>,
    ) -> Result<Download, Error> {
        let mut call = Call::get(path_of(dispatch, address));
        if let Some(range) = range_of(&part) {
            call = call.header(RANGE, range);
        }
        Ok(Download::new(self.open(&call).await?, self.try_timeout()))
    }

    /// Follows what a task prints to its standard output, or with `stderr` to its error stream,
    /// until the task has ended.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch or node; otherwise
    /// whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let mut log = client.follow_log(&id, cov_core::ids::NodeId(0), false).await?;
    /// while let Some(bytes) = log.next().await? {
    ///     print!("{}", String::from_utf8_lossy(&bytes));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn follow_log(
        &self,
        dispatch: &DispatchId,
        node: NodeId,
        stderr: bool,
    ) -> Result<Download, Error> {
        let key = if stderr { AssetKey::Stderr } else { AssetKey::Stdout };
        let path = path_of(dispatch, AssetAddress::of_node(node, key));
        let opened = self.open(&Call::get(format!("{path}?follow=true"))).await?;
        // A task may be silent for as long as it likes.
        Ok(Download::new(opened, Duration::MAX))
    }
}

/// Where the bytes of an asset are read.
pub(crate) fn path_of(dispatch: &DispatchId, address: AssetAddress) -> String {
    let AssetAddress { node, key } = address;
    match node {
        Some(node) => format!("/api/v3/dispatches/{dispatch}/nodes/{node}/{key}"),
        None => format!("/api/v3/dispatches/{dispatch}/assets/{key}"),
    }
}

/// The part as a header; `None` for all of it.
fn range_of(part: &impl RangeBounds<u64>) -> Option<HeaderValue> {
    let first = match part.start_bound() {
        Bound::Included(first) => *first,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let last = match part.end_bound() {
        Bound::Included(last) => Some(*last),
        Bound::Excluded(end) => Some(end.saturating_sub(1)),
        Bound::Unbounded => None,
    };
    let text = match (first, last) {
        (0, None) => return None,
        (first, None) => format!("bytes={first}-"),
        (first, Some(last)) => format!("bytes={first}-{last}"),
    };
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_asked_for_as_the_rfc_has_them() {
        let text = |range: Option<HeaderValue>| range.map(|one| one.to_str().unwrap().to_owned());
        assert_eq!(text(range_of(&(..))), None);
        assert_eq!(text(range_of(&(5..))).as_deref(), Some("bytes=5-"));
        assert_eq!(text(range_of(&(..5))).as_deref(), Some("bytes=0-4"));
        assert_eq!(text(range_of(&(2..=5))).as_deref(), Some("bytes=2-5"));
    }
}
