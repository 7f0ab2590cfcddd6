//! `cov result`: what a dispatch or a node returned.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use cov_client::Client;
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;
use cov_core::transportable::TransportableObject;

use crate::args::ResultOf;
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::find;
use crate::view::outcome::{Outcome, Saved};
use crate::view::short;

/// The largest value that is taken into memory. Bytes.
const VALUE_BYTES_MAX: usize = 4 << 30;

pub(super) async fn run(context: &Context, asked: &ResultOf) -> Result<Code, Error> {
    let patience = if asked.wait { Patience::OverRestarts } else { Patience::Once };
    let client = context.client(patience)?;
    let id = find::dispatch(context, &client, &asked.dispatch).await?;
    if asked.wait {
        client.summary(&id, true).await.map_err(|error| context.told(error))?;
    }
    let address = there(context, &client, &id, asked.node).await?;
    let read = client.read_asset(&id, address, ..).await.map_err(|error| context.told(error))?;
    let archive = read.collect(VALUE_BYTES_MAX).await.map_err(|error| context.told(error))?;
    let object = TransportableObject::from_bytes(&archive).map_err(|error| Error::Impossible {
        said: format!("what is stored there is no value: {error}"),
        hint: "`cov db check` says whether stored contents are damaged".to_owned(),
    })?;
    if let Some(file) = &asked.output {
        save(&object, file, asked.force)?;
        let saved = Saved {
            dispatch_id: id,
            node_id: asked.node,
            file: file.clone(),
            encoding: object.header.encoding,
            bytes: object.data.len(),
            py_version: Some(object.header.py_version).filter(|version| !version.is_empty()),
        };
        context.printer.print(&saved)?;
        return Ok(Code::Done);
    }
    let outcome = Outcome::of(id, asked.node, &object, asked.raw);
    context.printer.print(&outcome)?;
    if let Some(remark) = outcome.remark() {
        context.printer.aside(&remark);
    }
    Ok(Code::Done)
}

/// Where the value is, if there is one.
async fn there(
    context: &Context,
    client: &Client,
    id: &DispatchId,
    node: Option<NodeId>,
) -> Result<AssetAddress, Error> {
    let told = |error| context.told(error);
    let begin = short(id);
    let Some(node) = node else {
        let summary = client.summary(id, false).await.map_err(told)?;
        let done = format!(
            "{} of {} nodes are complete",
            summary.completed_node_count, summary.node_count
        );
        missing(&format!("dispatch {begin}"), &begin, summary.status, &done)?;
        return Ok(AssetAddress::of_dispatch(AssetKey::Result));
    };
    let shown = client.node(id, node).await.map_err(told)?.node;
    let what = format!("node {node} ({})", shown.name);
    missing(&what, &begin, shown.status, &format!("`cov show {begin}` shows all nodes"))?;
    Ok(AssetAddress::of_node(node, AssetKey::Output))
}

fn missing(what: &str, begin: &str, status: Status, more: &str) -> Result<(), Error> {
    let (said, hint) = match status {
        Status::Completed => return Ok(()),
        Status::Failed => (
            format!("{what} failed and returned nothing"),
            format!("`cov explain {begin}` says why"),
        ),
        Status::Cancelled => (
            format!("{what} was cancelled and returned nothing"),
            format!("`cov redispatch {begin} --reuse` runs what was not complete"),
        ),
        status => (
            format!("{what} has returned nothing yet: it is {status}"),
            format!("--wait waits for it, `cov watch {begin}` follows it; {more}"),
        ),
    };
    Err(Error::Impossible { said, hint })
}

fn save(object: &TransportableObject, file: &Path, force: bool) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    // What users computed is nobody else's business.
    options.write(true).mode(0o600);
    match force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let opened = options.open(file).map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => Error::Exists { path: file.to_path_buf() },
        _ => Error::File { what: "the file", path: file.to_path_buf(), source },
    });
    opened?.write_all(&object.data).map_err(|source| Error::File {
        what: "the file",
        path: file.to_path_buf(),
        source,
    })
}
