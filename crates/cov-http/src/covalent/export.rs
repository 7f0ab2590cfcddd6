//! Writes a dispatch in Covalent's shape, piece by piece: the answer to a registration and the
//! export. Neither the text nor a long name is ever in memory as a whole.

use std::collections::HashSet;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, header};
use cov_core::asset::{AssetAddress, AssetKey, AssetState};
use cov_core::error::ErrorCode;
use cov_core::graph::{Edge, EdgeKind, NodeKind};
use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_dispatcher::Handle;
use cov_dispatcher::store::model::{DispatchRecord, NodeRecord};
use serde::Serialize;
use serde_json::Value;

use super::assets::{Asset, remote_uri};
use super::escape::Escaper;
use super::names::WAITING_EDGE;
use crate::access::Right;
use crate::content::{BlobReader, size_of};
use crate::error::Refusal;
use crate::guard::Base;

/// The header of what is written here.
pub(super) const JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

/// Size from which a piece is sent. Bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// Which of the two texts is written.
#[derive(Debug)]
pub(super) enum Mode {
    /// The answer to a registration: what was announced, and where to upload what the server
    /// lacks. An empty address means *do not upload*.
    Registered {
        /// The assets that the client has to upload.
        uploads: HashSet<AssetAddress>,
    },
    /// What is there now, and where to fetch it.
    Current,
}

/// A dispatch on its way out.
#[derive(Debug)]
pub(super) struct Export {
    handle: Handle,
    base: Base,
    record: DispatchRecord,
    mode: Mode,
    place: Place,
    piece: Vec<u8>,
}

/// What is written next.
#[derive(Debug)]
enum Place {
    Head,
    Node(usize),
    /// The rest of the name of a node.
    Name {
        node: usize,
        reader: BlobReader,
        escaper: Escaper,
    },
    Link(usize),
    End,
}

#[derive(Serialize)]
struct DispatchMetadata<'a> {
    dispatch_id: &'a DispatchId,
    root_dispatch_id: &'a DispatchId,
    status: Status,
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
}

#[derive(Serialize)]
struct LatticeMetadata<'a> {
    name: &'a str,
    executor: &'a str,
    executor_data: &'a Value,
    workflow_executor: &'a str,
    workflow_executor_data: &'a Value,
    python_version: Option<&'a str>,
    covalent_version: Option<&'a str>,
}

/// Without the name, which is written after it.
#[derive(Serialize)]
struct NodeMetadata<'a> {
    task_group_id: NodeId,
    executor: &'a str,
    executor_data: &'a Value,
    sub_dispatch_id: Option<&'a DispatchId>,
    status: Status,
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
}

#[derive(Serialize)]
struct Link<'a> {
    source: NodeId,
    target: NodeId,
    metadata: LinkMetadata<'a>,
}

#[derive(Serialize)]
struct LinkMetadata<'a> {
    edge_name: &'a str,
    param_type: Option<&'static str>,
    arg_index: Option<u32>,
}

impl Export {
    pub(super) fn new(handle: Handle, base: Base, record: DispatchRecord, mode: Mode) -> Self {
        Self { handle, base, record, mode, place: Place::Head, piece: Vec::new() }
    }

    /// The text as a body; a short one as a whole.
    ///
    /// # Errors
    /// The first piece could not be written. A fault in a later one breaks the connection off.
    pub(super) async fn into_body(mut self) -> Result<Body, Refusal> {
        let first = self.next().await?.unwrap_or_default();
        if matches!(self.place, Place::End) {
            return Ok(Body::from(first));
        }
        let pieces =
            futures_util::stream::try_unfold((Some(first), self), |(first, mut rest)| async move {
                let piece = match first {
                    Some(first) => Some(first),
                    None => rest.next().await.map_err(broken_off)?,
                };
                Ok::<_, std::io::Error>(piece.map(|piece| (piece, (None, rest))))
            });
        Ok(Body::from_stream(pieces))
    }

    /// The next piece, or `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        while self.piece.len() < PIECE_BYTES && !matches!(self.place, Place::End) {
            self.step().await?;
        }
        let piece = std::mem::take(&mut self.piece);
        Ok((!piece.is_empty()).then(|| piece.into()))
    }

    async fn step(&mut self) -> Result<(), Refusal> {
        match std::mem::replace(&mut self.place, Place::End) {
            Place::Head => {
                self.head()?;
                self.place = Place::Node(0);
            }
            Place::Node(node) if node < self.record.nodes.len() => self.node(node).await?,
            Place::Node(_) => {
                self.text("],\"links\":[");
                self.place = Place::Link(0);
            }
            Place::Name { node, reader, escaper } => self.name(node, reader, escaper).await?,
            Place::Link(index) if index < self.record.edges.len() => self.link(index)?,
            Place::Link(_) => self.text("]}}}"),
            Place::End => {}
        }
        Ok(())
    }

    fn head(&mut self) -> Result<(), Refusal> {
        let summary = &self.record.summary;
        let lattice = &self.record.lattice;
        let metadata = json(&DispatchMetadata {
            dispatch_id: &summary.dispatch_id,
            root_dispatch_id: &summary.root_dispatch_id,
            status: summary.status,
            start_time: summary.started_at,
            end_time: summary.ended_at,
        })?;
        let lattice_metadata = json(&LatticeMetadata {
            name: &lattice.name,
            executor: &lattice.executor.name,
            executor_data: &lattice.executor.data,
            workflow_executor: &lattice.workflow_executor.name,
            workflow_executor_data: &lattice.workflow_executor.data,
            python_version: lattice.python_version.as_deref(),
            covalent_version: lattice.sdk_version.as_deref(),
        })?;
        self.text("{\"metadata\":");
        self.piece.extend_from_slice(&metadata);
        self.text(",\"assets\":{\"result\":");
        self.result_asset()?;
        self.text(",\"error\":");
        self.asset_of(AssetAddress::of_dispatch(AssetKey::Error))?;
        self.text("},\"lattice\":{\"metadata\":");
        self.piece.extend_from_slice(&lattice_metadata);
        self.text(",\"assets\":");
        self.assets(None, &AssetKey::OF_LATTICE)?;
        self.text(",\"transport_graph\":{\"nodes\":[");
        Ok(())
    }

    /// The result of a dispatch is the output of its last node, once it is there.
    fn result_asset(&mut self) -> Result<(), Refusal> {
        let mut nodes = (0..).map(NodeId).zip(&self.record.nodes);
        let last = nodes.find(|(_, node)| node.kind.ends_lattice());
        let output = last.map(|(id, node)| (AssetAddress::of_node(id, AssetKey::Output), node));
        let there = output.filter(|(address, node)| find(&node.assets, *address).is_some());
        let own = AssetAddress::of_dispatch(AssetKey::Result);
        self.asset_of(there.map_or(own, |(address, _)| address))
    }

    async fn node(&mut self, index: usize) -> Result<(), Refusal> {
        let Some(node) = self.record.nodes.get(index) else { return Ok(()) };
        let id = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
        let executor = self.record.executors.get(node.executor as usize);
        let metadata = json(&NodeMetadata {
            task_group_id: node.task_group,
            executor: executor.map_or("", |spec| &spec.name),
            executor_data: executor.map_or(&Value::Null, |spec| &spec.data),
            sub_dispatch_id: node.sub_dispatch.as_ref(),
            status: node.state.status,
            start_time: shown_start(node),
            end_time: node.state.ended_at,
        })?;
        let is_long = find(&node.assets, AssetAddress::of_node(id, AssetKey::Name)).is_some();
        let name = if is_long { Vec::new() } else { json(&node.name)? };
        let comma = if index > 0 { "," } else { "" };
        self.text(&format!("{comma}{{\"id\":{id},\"assets\":"));
        self.assets(Some(id), &AssetKey::OF_NODE)?;
        self.text(",\"metadata\":");
        let open = metadata.strip_suffix(b"}").unwrap_or(&metadata);
        self.piece.extend_from_slice(open);
        self.text(",\"name\":");
        if is_long {
            return self.begin_name(index, id).await;
        }
        self.piece.extend_from_slice(&name);
        self.text("}}");
        self.place = Place::Node(index + 1);
        Ok(())
    }

    async fn begin_name(&mut self, index: usize, id: NodeId) -> Result<(), Refusal> {
        let address = AssetAddress::of_node(id, AssetKey::Name);
        let blob = self.handle.read_asset(&self.record.summary.dispatch_id, address).await?;
        let blob = blob.ok_or_else(|| internal("the name of a node is gone"))?;
        let size = size_of(&blob);
        let reader = BlobReader::new(blob, 0, size);
        self.text("\"");
        self.place = Place::Name { node: index, reader, escaper: Escaper::default() };
        Ok(())
    }

    async fn name(
        &mut self,
        node: usize,
        mut reader: BlobReader,
        mut escaper: Escaper,
    ) -> Result<(), Refusal> {
        let chunk = reader.next().await.map_err(|error| internal(&error.to_string()))?;
        match chunk {
            Some(chunk) => {
                escaper
                    .push(&chunk, &mut self.piece)
                    .map_err(|error| internal(&error.to_string()))?;
                self.place = Place::Name { node, reader, escaper };
            }
            None => {
                escaper.finish().map_err(|error| internal(&error.to_string()))?;
                self.text("\"}}");
                self.place = Place::Node(node + 1);
            }
        }
        Ok(())
    }

    fn link(&mut self, index: usize) -> Result<(), Refusal> {
        let Some(edge) = self.record.edges.get(index) else { return Ok(()) };
        let link = json(&link_of(edge))?;
        if index > 0 {
            self.text(",");
        }
        self.piece.extend_from_slice(&link);
        self.place = Place::Link(index + 1);
        Ok(())
    }

    fn assets(&mut self, node: Option<NodeId>, keys: &[AssetKey]) -> Result<(), Refusal> {
        for (index, key) in keys.iter().enumerate() {
            let before = if index == 0 { "{" } else { "," };
            self.text(&format!("{before}\"{key}\":"));
            self.asset_of(AssetAddress { node, key: *key })?;
        }
        self.text("}");
        Ok(())
    }

    fn asset_of(&mut self, address: AssetAddress) -> Result<(), Refusal> {
        let node = address.node.and_then(|node| self.record.nodes.get(node.index()));
        let assets = node.map_or(&self.record.assets, |node| &node.assets);
        let kind = node.map(|node| node.kind);
        let asset = self.asset(address, kind, find(assets, address));
        self.piece.extend_from_slice(&json(&asset)?);
        Ok(())
    }

    fn asset(
        &self,
        address: AssetAddress,
        kind: Option<NodeKind>,
        state: Option<&AssetState>,
    ) -> Asset {
        let dispatch = &self.record.summary.dispatch_id;
        let (size, sha1) = match (&self.mode, state) {
            (Mode::Registered { .. }, Some(AssetState::Awaited(said))) => (said.size, said.sha1),
            (_, Some(AssetState::Present(content))) => (content.size, Some(content.sha1)),
            (Mode::Current, Some(AssetState::Awaited(_))) | (_, None) => (0, None),
        };
        let sha1 = sha1.filter(|_| is_sent_by_client(address, kind));
        let digest_alg = sha1.map(|_| "sha");
        match &self.mode {
            Mode::Current => Asset {
                digest_alg,
                digest: sha1.map(|digest| digest.to_string()),
                uri: None,
                remote_uri: remote_uri(&self.base, Right::Read, dispatch, address),
                size,
            },
            Mode::Registered { uploads } => {
                let wanted = uploads.contains(&address);
                let remote_uri =
                    wanted.then(|| remote_uri(&self.base, Right::Write, dispatch, address));
                let remote_uri = remote_uri.unwrap_or_default();
                Asset { digest_alg, digest: None, uri: Some(""), remote_uri, size }
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.piece.extend_from_slice(text.as_bytes());
    }
}

/// Digests are shown for what the client announced with one.
fn is_sent_by_client(address: AssetAddress, kind: Option<NodeKind>) -> bool {
    match address.key {
        AssetKey::Output => kind == Some(NodeKind::Parameter),
        AssetKey::Error | AssetKey::Stdout | AssetKey::Stderr | AssetKey::Result => false,
        _ => true,
    }
}

fn find(assets: &[(AssetAddress, AssetState)], address: AssetAddress) -> Option<&AssetState> {
    assets.iter().find(|(known, _)| *known == address).map(|(_, state)| state)
}

fn link_of(edge: &Edge) -> Link<'_> {
    let (edge_name, param_type, arg_index) = match edge.kind {
        EdgeKind::Arg(index) => (edge.name.as_str(), Some("arg"), Some(index)),
        EdgeKind::Kwarg => (edge.name.as_str(), Some("kwarg"), None),
        EdgeKind::Wait => (WAITING_EDGE, None, None),
    };
    let metadata = LinkMetadata { edge_name, param_type, arg_index };
    Link { source: edge.source, target: edge.target, metadata }
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|error| internal(&error.to_string()))
}

fn internal(said: &str) -> Refusal {
    tracing::error!(error = said, "export broken off");
    Refusal::new(ErrorCode::Internal, said.to_owned())
}

fn broken_off(refusal: Refusal) -> std::io::Error {
    std::io::Error::other(refusal.code().as_str())
}

/// When a node is shown to have begun. Covalent shows a result that was taken over from an earlier
/// dispatch as made in one moment, and its users tell by that what did not run again. The native
/// API shows when it ran.
fn shown_start(node: &NodeRecord) -> Option<Timestamp> {
    let was_taken_over = node.state.status == Status::Completed && node.state.attempt.is_none();
    if was_taken_over { node.state.ended_at } else { node.state.started_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_written_as_they_were_read() {
        let edge = |kind| Edge { source: NodeId(1), target: NodeId(2), name: "n".into(), kind };
        for (kind, expected) in [
            (EdgeKind::Arg(3), r#"{"edge_name":"n","param_type":"arg","arg_index":3}"#),
            (EdgeKind::Kwarg, r#"{"edge_name":"n","param_type":"kwarg","arg_index":null}"#),
            (EdgeKind::Wait, r#"{"edge_name":"!waiting_edge","param_type":null,"arg_index":null}"#),
        ] {
            let edge = edge(kind);
            let written = serde_json::to_string(&link_of(&edge).metadata).unwrap();
            assert_eq!(written, expected);
        }
    }
}
