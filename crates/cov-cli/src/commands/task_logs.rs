//! `cov logs DISPATCH`: what tasks printed, or print now.

use std::collections::HashSet;

use cov_client::{Client, Dispatch, Event, Kind, Node};
use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::graph::NodeKind;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::args::Logs;
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::find;
use crate::view::outcome::LogLine;
use crate::view::tree::name_of;

/// The longest log that is taken into memory. Bytes.
const LOG_BYTES_MAX: usize = 1 << 30;

/// Lines on their way to the output.
const LINES_QUEUED: usize = 256;

/// Which dispatch, and what of it.
struct Reader<'a> {
    context: &'a Context,
    client: &'a Client,
    id: DispatchId,
    asked: &'a Logs,
}

pub(super) async fn run(context: &Context, text: &str, asked: &Logs) -> Result<Code, Error> {
    let patience = if asked.follow { Patience::OverRestarts } else { Patience::Once };
    let client = &context.client(patience)?;
    let id = find::dispatch(context, client, text).await?;
    let reader = Reader { context, client, id, asked };
    let dispatch = client.get(&reader.id).await.map_err(|error| context.told(error))?;
    if let Some(node) = asked.node.filter(|node| node.index() >= dispatch.nodes.len()) {
        return Err(Error::NotFound {
            said: format!("dispatch {} has no node {node}", reader.id),
            hint: format!("its nodes are 0 to {}", dispatch.nodes.len().saturating_sub(1)),
        });
    }
    match asked.follow {
        false => reader.print(&dispatch).await?,
        true => reader.follow(dispatch).await?,
    }
    Ok(Code::Done)
}

impl Reader<'_> {
    fn is_asked(&self, node: &Node) -> bool {
        match self.asked.node {
            Some(asked) => node.node_id == asked,
            None => node.kind != NodeKind::Parameter,
        }
    }

    fn streams(&self) -> Vec<(AssetKey, &'static str)> {
        let Logs { stdout, stderr, .. } = self.asked;
        let mut streams = Vec::new();
        if !stderr {
            streams.push((AssetKey::Stdout, "stdout"));
        }
        if !stdout {
            streams.push((AssetKey::Stderr, "stderr"));
        }
        streams
    }

    /// What is there now.
    async fn print(&self, dispatch: &Dispatch) -> Result<(), Error> {
        let mut printed = false;
        for node in dispatch.nodes.iter().filter(|node| self.is_asked(node)) {
            for (key, stream) in self.streams() {
                // What a running task prints is no asset yet.
                let is_there = node.assets.contains_key(key.as_str()) || !node.status.is_terminal();
                if is_there && node.status != Status::NewObject {
                    printed |= self.print_asset(node, key, stream).await?;
                }
            }
            printed |= self.print_error(node).await?;
        }
        if !printed {
            self.context.printer.aside("Nothing was printed.");
        }
        Ok(())
    }

    /// Why a node failed, behind what it printed.
    async fn print_error(&self, node: &Node) -> Result<bool, Error> {
        match node.status == Status::Failed && !self.asked.stdout {
            true => self.print_asset(node, AssetKey::Error, "error").await,
            false => Ok(false),
        }
    }

    async fn print_asset(
        &self,
        node: &Node,
        key: AssetKey,
        stream: &'static str,
    ) -> Result<bool, Error> {
        let address = AssetAddress::of_node(node.node_id, key);
        let read = match self.client.read_asset(&self.id, address, ..).await {
            Err(error) if error.kind() == Kind::NotFound => return Ok(false),
            read => read.map_err(|error| self.context.told(error))?,
        };
        let bytes = read.collect(LOG_BYTES_MAX).await.map_err(|error| self.context.told(error))?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(self.asked.lines.unwrap_or(usize::MAX));
        for line in &lines[from..] {
            self.context.printer.print(&self.line(node, stream, (*line).to_owned()))?;
        }
        Ok(!lines.is_empty())
    }

    fn line(&self, node: &Node, stream: &'static str, text: String) -> LogLine {
        let prefixed = self.asked.node.is_none();
        LogLine { node_id: node.node_id, name: name_of(node).to_owned(), stream, text, prefixed }
    }

    /// What comes until the end of the dispatch, or of the node.
    async fn follow(&self, mut dispatch: Dispatch) -> Result<(), Error> {
        let (lines, mut queue) = mpsc::channel(LINES_QUEUED);
        let mut followers = JoinSet::new();
        let mut known = HashSet::new();
        // Before the state is read, so that no beginning is missed in between.
        let mut events = self.client.events(Some(&self.id));
        let mut is_over = self.asked.node.is_some();
        if let Some(asked) = self.asked.node {
            self.begin(asked, &mut known, &mut followers, &lines);
        }
        loop {
            if !is_over {
                let begun = |node: &&Node| node.status != Status::NewObject && self.is_asked(node);
                for node in dispatch.nodes.iter().filter(begun) {
                    self.begin(node.node_id, &mut known, &mut followers, &lines);
                }
            }
            tokio::select! {
                biased;
                line = queue.recv() => {
                    let Some((node, stream, text)) = line else { break };
                    let Some(node) = dispatch.nodes.get(node) else { continue };
                    self.context.printer.print(&self.line(node, stream, text))?;
                }
                event = events.next(), if !is_over => {
                    match event.map_err(|error| self.context.told(error))? {
                        None => is_over = true,
                        Some(Event::Node { node_id, status, .. }) => {
                            if let Some(node) = dispatch.nodes.get_mut(node_id.index()) {
                                node.status = status;
                            }
                        }
                        Some(Event::Lagged | Event::Summary(_)) => dispatch = self.read().await?,
                        Some(_) => {}
                    }
                }
                ended = followers.join_next(), if !followers.is_empty() => {
                    if let Some(Ok(Err(error))) = ended {
                        return Err(self.context.told(error));
                    }
                }
                else => break,
            }
            if is_over && followers.is_empty() && queue.is_empty() {
                break;
            }
        }
        let dispatch = self.read().await?;
        for node in dispatch.nodes.iter().filter(|node| self.is_asked(node)) {
            self.print_error(node).await?;
        }
        Ok(())
    }

    async fn read(&self) -> Result<Dispatch, Error> {
        self.client.get(&self.id).await.map_err(|error| self.context.told(error))
    }

    fn begin(
        &self,
        node: NodeId,
        known: &mut HashSet<NodeId>,
        followers: &mut JoinSet<Result<(), cov_client::Error>>,
        lines: &mpsc::Sender<(usize, &'static str, String)>,
    ) {
        if !known.insert(node) {
            return;
        }
        for (key, stream) in self.streams() {
            let (client, id, lines) = (self.client.clone(), self.id.clone(), lines.clone());
            followers.spawn(async move {
                let mut log = client.follow_log(&id, node, key == AssetKey::Stderr).await?;
                let mut unfinished = Vec::new();
                while let Some(bytes) = log.next().await? {
                    unfinished.extend_from_slice(&bytes);
                    while let Some(end) = unfinished.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = unfinished.drain(..=end).collect();
                        let text = String::from_utf8_lossy(&line[..end]).into_owned();
                        // Nobody is left to read it once the receiver is gone.
                        lines.send((node.index(), stream, text)).await.ok();
                    }
                }
                if !unfinished.is_empty() {
                    let text = String::from_utf8_lossy(&unfinished).into_owned();
                    lines.send((node.index(), stream, text)).await.ok();
                }
                Ok(())
            });
        }
    }
}
