//! The record of a dispatch as the seed of this project has it: waited for, put together from what
//! the server shows, with small contents at once and large ones when they are asked for.

use std::time::Duration;

use bytes::Bytes;
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::error::ErrorCode;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::manifest::LatticeInfo;
use cov_core::result::{self, Fetched, NodeResult, Summary, Text, Value};
use cov_core::status::Status;
use cov_core::transportable::TransportableObject;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::client::{Call, Client};
use crate::commands::Accepted;
use crate::dispatches::{Dispatch, Node};
use crate::download::Download;
use crate::error::Error;
use crate::workflow::Workflow;

/// How long one question for the end of a dispatch is held by the server. Seconds.
const HELD_SECONDS: u64 = 30;

/// Pause between two questions for a dispatch that nobody has started yet.
const NOT_STARTED_PAUSE: Duration = Duration::from_millis(500);

/// Contents up to this size come with the record. Bytes.
const SMALL_BYTES_MAX: u64 = 64 * 1024;

/// Most contents that come with the record.
const SMALL_MAX: usize = 256;

/// Requests for contents that are under way at once.
const AT_ONCE: usize = 8;

/// Largest content that is taken into memory. Bytes.
pub(crate) const CONTENT_BYTES_MAX: usize = 4 << 30;

/// How a dispatch ended.
///
/// ```no_run
/// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use cov_client::Ending;
/// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
/// match client.ending(&id).await? {
///     Ending::Returned(download) => println!("{} bytes", download.collect(1_000).await?.len()),
///     Ending::Otherwise(summary) => println!("{}", summary.status),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub enum Ending {
    /// It completed, and this is what it returned, encoded.
    Returned(Download),
    /// It failed or was cancelled.
    Otherwise(Summary),
}

impl Client {
    /// Waits for the end of a dispatch and begins to read what it returned: one request, where
    /// [`Client::summary`] and [`Client::read_asset`] are two.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch, or one that returned
    /// nothing; otherwise whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// if let cov_client::Ending::Returned(download) = client.ending(&id).await? {
    ///     println!("{} bytes", download.collect(1_000_000).await?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ending(&self, dispatch: &DispatchId) -> Result<Ending, Error> {
        let path = format!("/api/v3/dispatches/{dispatch}/result?wait={HELD_SECONDS}");
        loop {
            let call = Call::get(&path).patience(Duration::from_secs(HELD_SECONDS));
            let refused = match self.open(&call).await {
                Ok(opened) => {
                    return Ok(Ending::Returned(Download::new(opened, self.try_timeout())));
                }
                Err(error) => error,
            };
            let code = refused.problem().map(|problem| problem.code);
            if code != Some(ErrorCode::IllegalState) {
                return Err(refused);
            }
            // It is under way for longer, was not started yet, or has ended otherwise.
            let summary = self.summary(dispatch, true).await?;
            if summary.status != Status::Completed {
                return Ok(Ending::Otherwise(summary));
            }
        }
    }

    /// The short record of a dispatch; with `wait`, once it has ended.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch; otherwise whatever
    /// keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// println!("{}", client.summary(&id, true).await?.status);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn summary(&self, dispatch: &DispatchId, wait: bool) -> Result<Summary, Error> {
        let path = format!("/api/v3/dispatches/{dispatch}/summary");
        if !wait {
            return self.get_json(&path).await;
        }
        let held = format!("{path}?wait={HELD_SECONDS}");
        loop {
            let call = Call::get(&held).patience(Duration::from_secs(HELD_SECONDS));
            let summary: Summary = self.json(&call).await?;
            match summary.status {
                status if status.is_terminal() => return Ok(summary),
                Status::NewObject => tokio::time::sleep(NOT_STARTED_PAUSE).await,
                _ => {}
            }
        }
    }

    /// The record of a dispatch. With `wait`, once it has ended; with `status_only`, without its
    /// electrons and contents. Large contents are not fetched: see [`Client::fetch`].
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch; otherwise whatever
    /// keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let record = client.get_result(&id, true, false).await?;
    /// println!("{}: {:?}", record.status, record.result::<i64>());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_result(
        &self,
        dispatch: &DispatchId,
        wait: bool,
        status_only: bool,
    ) -> Result<result::Result, Error> {
        if status_only {
            return Ok(of_summary(self.summary(dispatch, wait).await?));
        }
        if wait {
            self.summary(dispatch, true).await?;
        }
        let mut record = of_dispatch(self.get(dispatch).await?);
        self.fetch_some(&mut record, SMALL_BYTES_MAX, SMALL_MAX).await?;
        self.fetch_sublattices(&mut record).await?;
        Ok(record)
    }

    /// Sends a workflow, starts it, and waits for its end.
    ///
    /// # Errors
    /// As [`Client::dispatch`] and [`Client::get_result`]. That the workflow fails is no error:
    /// see the status of the record.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client, bundle: cov_core::bundle::Bundle)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// let record = client.dispatch_sync(&bundle.into()).await?;
    /// let total: i64 = record.result()?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn dispatch_sync(&self, workflow: &Workflow) -> Result<result::Result, Error> {
        let Accepted { dispatch_id, .. } = self.dispatch(workflow).await?;
        self.get_result(&dispatch_id, true, false).await
    }

    /// Fetches every content of a record that was not fetched yet, however large it is.
    ///
    /// # Errors
    /// As [`Client::read_asset`]; [`Kind::Workflow`](crate::Kind::Workflow) for a content that is
    /// no encoded value.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// # let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let mut record = client.get_result(&id, true, false).await?;
    /// client.fetch(&mut record).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fetch(&self, record: &mut result::Result) -> Result<(), Error> {
        self.fetch_some(record, u64::MAX, usize::MAX).await
    }

    /// Fetches the output of one electron of a record, if it was not fetched yet.
    ///
    /// # Errors
    /// As [`Client::fetch`].
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// # let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let mut record = client.get_result(&id, true, false).await?;
    /// client.fetch_output(&mut record, cov_core::ids::NodeId(3)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fetch_output(
        &self,
        record: &mut result::Result,
        node: NodeId,
    ) -> Result<(), Error> {
        let address = AssetAddress::of_node(node, AssetKey::Output);
        if left_of(record).iter().any(|(left, _)| *left == address) {
            let bytes = self.content(&record.dispatch_id, address).await?;
            put(record, address, bytes)?;
        }
        Ok(())
    }

    async fn fetch_some(
        &self,
        record: &mut result::Result,
        bytes_max: u64,
        count_max: usize,
    ) -> Result<(), Error> {
        let left = left_of(record).into_iter().filter(|(_, bytes)| *bytes <= bytes_max);
        let wanted: Vec<AssetAddress> = left.map(|(address, _)| address).take(count_max).collect();
        let dispatch = record.dispatch_id.clone();
        let fetched: Vec<(AssetAddress, Bytes)> = stream::iter(wanted)
            .map(|address| {
                let dispatch = &dispatch;
                async move { Ok::<_, Error>((address, self.content(dispatch, address).await?)) }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        for (address, bytes) in fetched {
            put(record, address, bytes)?;
        }
        Ok(())
    }

    async fn content(&self, dispatch: &DispatchId, address: AssetAddress) -> Result<Bytes, Error> {
        self.read_asset(dispatch, address, ..).await?.collect(CONTENT_BYTES_MAX).await
    }

    /// The records of the first sub-dispatches.
    async fn fetch_sublattices(&self, record: &mut result::Result) -> Result<(), Error> {
        const SUBLATTICES_MAX: usize = 32;
        let with_child = record.nodes.iter_mut().filter_map(|node| {
            let child = node.sub_dispatch_id.clone()?;
            Some((node, child))
        });
        for (node, child) in with_child.take(SUBLATTICES_MAX) {
            let below = Box::pin(self.get_result(&child, false, false)).await?;
            node.sublattice_result = Some(Box::new(below));
        }
        Ok(())
    }
}

fn of_summary(summary: Summary) -> result::Result {
    let lattice = LatticeInfo { name: summary.name, ..LatticeInfo::default() };
    result::Result {
        root_dispatch_id: summary.root_dispatch_id,
        status: summary.status,
        start_time: summary.started_at,
        end_time: summary.ended_at,
        ..result::Result::new(lattice, summary.dispatch_id)
    }
}

fn of_dispatch(dispatch: Dispatch) -> result::Result {
    let Dispatch { summary, lattice, error, assets, nodes } = dispatch;
    let nodes: Vec<NodeResult> = nodes.into_iter().map(of_node).collect();
    let end = nodes.iter().find(|node| node.kind.ends_lattice());
    result::Result {
        lattice,
        error,
        inputs: assets.get(AssetKey::Inputs.as_str()).map(|bytes| Fetched::There { bytes: *bytes }),
        result: end.and_then(|node| node.output.clone()),
        nodes,
        ..of_summary(summary)
    }
}

fn of_node(node: Node) -> NodeResult {
    let there = |key: AssetKey| node.assets.get(key.as_str()).copied();
    let value = |key| there(key).map(|bytes| Value::There { bytes });
    let text = |key| there(key).map(|bytes| Text::There { bytes });
    NodeResult {
        output: value(AssetKey::Output),
        error: text(AssetKey::Error),
        stdout: text(AssetKey::Stdout),
        stderr: text(AssetKey::Stderr),
        sublattice_result: None,
        node_id: node.node_id,
        node_name: node.name,
        start_time: node.started_at,
        end_time: node.ended_at,
        status: node.status,
        kind: node.kind,
        sub_dispatch_id: node.sub_dispatch_id,
    }
}

fn bytes_there<T>(thing: Option<&Fetched<T>>) -> Option<u64> {
    match thing {
        Some(Fetched::There { bytes }) => Some(*bytes),
        Some(Fetched::Here(_)) | None => None,
    }
}

/// What was not fetched yet: what the dispatch returned and got first, then by node.
pub(crate) fn left_of(record: &result::Result) -> Vec<(AssetAddress, u64)> {
    let of_dispatch = [
        (AssetKey::Result, bytes_there(record.result.as_ref())),
        (AssetKey::Inputs, bytes_there(record.inputs.as_ref())),
    ];
    let of_dispatch = of_dispatch
        .into_iter()
        .filter_map(|(key, bytes)| Some((AssetAddress::of_dispatch(key), bytes?)));
    let of_nodes = record.nodes.iter().flat_map(|node| {
        let assets = [
            (AssetKey::Output, bytes_there(node.output.as_ref())),
            (AssetKey::Error, bytes_there(node.error.as_ref())),
            (AssetKey::Stdout, bytes_there(node.stdout.as_ref())),
            (AssetKey::Stderr, bytes_there(node.stderr.as_ref())),
        ];
        let address = move |(key, bytes): (AssetKey, Option<u64>)| {
            Some((AssetAddress::of_node(node.node_id, key), bytes?))
        };
        assets.into_iter().filter_map(address)
    });
    of_dispatch.chain(of_nodes).collect()
}

/// Puts a content where it belongs.
fn put(record: &mut result::Result, address: AssetAddress, bytes: Bytes) -> Result<(), Error> {
    let value = |bytes: &Bytes| {
        let read = TransportableObject::from_bytes(bytes);
        read.map(|object| Some(Fetched::Here(object))).map_err(|source| Error::Workflow {
            reason: format!("the {address} of dispatch {} is no value", record.dispatch_id),
            source: source.into(),
        })
    };
    let text = |bytes: &Bytes| Some(Fetched::Here(String::from_utf8_lossy(bytes).into_owned()));
    let node = address.node.and_then(|node| record.nodes.get_mut(node.index()));
    match (node, address.key) {
        (None, AssetKey::Result) => record.result = value(&bytes)?,
        (None, AssetKey::Inputs) => record.inputs = value(&bytes)?,
        (Some(node), AssetKey::Output) => node.output = value(&bytes)?,
        (Some(node), AssetKey::Error) => node.error = text(&bytes),
        (Some(node), AssetKey::Stdout) => node.stdout = text(&bytes),
        (Some(node), AssetKey::Stderr) => node.stderr = text(&bytes),
        _ => {}
    }
    Ok(())
}
