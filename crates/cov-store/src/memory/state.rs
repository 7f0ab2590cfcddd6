//! The state of all dispatches as plain maps, changed by copying.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetState, ContentRef, INLINE_BYTES_MAX};
use cov_core::graph::{Edge, Graph, NodeKind};
use cov_core::ids::{ContentId, DispatchId, NodeId};
use cov_core::result::Summary;
use cov_core::status::Status;
use cov_core::time::Timestamp;

use super::triggers::Triggers;
use crate::fault::{corrupt, internal};
use crate::model::{
    Change, ChangeSet, DispatchRecord, DispatchState, Functions, NodeRecord, NodeState, Query,
    Registration, StoredDispatch, StoredNode,
};
use crate::{Awaited, Error};

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) epoch: u32,
    pub(super) dispatches: HashMap<DispatchId, Arc<Entry>>,
    /// In the order of registration.
    pub(super) order: Vec<DispatchId>,
    pub(super) contents: HashMap<ContentId, ContentRef>,
    pub(super) small: HashMap<ContentId, Bytes>,
    pub(super) triggers: Triggers,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    root: DispatchId,
    pub(super) parent: Option<(DispatchId, NodeId)>,
    created_at: Timestamp,
    updated_at: Timestamp,
    pub(super) state: DispatchState,
    pub(super) registration: Arc<Registration>,
    nodes: Vec<NodeState>,
    pub(super) assets: BTreeMap<AssetAddress, AssetState>,
}

impl State {
    pub(super) fn entry(&self, dispatch: &DispatchId) -> Result<&Entry, Error> {
        let found = self.dispatches.get(dispatch).map(Arc::as_ref);
        found.ok_or_else(|| Error::NotFound { dispatch: dispatch.clone() })
    }

    fn entry_mut(&mut self, dispatch: &DispatchId) -> Result<&mut Entry, Error> {
        let found = self.dispatches.get_mut(dispatch).map(Arc::make_mut);
        found.ok_or_else(|| Error::NotFound { dispatch: dispatch.clone() })
    }

    pub(super) fn apply(&mut self, batch: &[ChangeSet]) -> Result<(), Error> {
        for change in batch.iter().flat_map(|set| &set.changes) {
            self.take_content(change)?;
        }
        for set in batch {
            for change in &set.changes {
                self.apply_one(set, change)?;
            }
            self.entry_mut(&set.dispatch)?.updated_at = set.at;
        }
        for set in batch {
            for change in &set.changes {
                self.fulfil(&set.dispatch, change)?;
            }
        }
        Ok(())
    }

    /// What is awaited at the end of a batch gets the contents that came with it.
    fn fulfil(&mut self, dispatch: &DispatchId, change: &Change) -> Result<(), Error> {
        let Change::Fulfil { content } = change else { return Ok(()) };
        self.check_known(content)?;
        let is_meant = |one: &Announced| one.sha1 == Some(content.sha1) && one.size == content.size;
        for state in self.entry_mut(dispatch)?.assets.values_mut() {
            if matches!(state, AssetState::Awaited(announced) if is_meant(announced)) {
                *state = AssetState::Present(*content);
            }
        }
        Ok(())
    }

    fn check_known(&self, content: &ContentRef) -> Result<(), Error> {
        if self.contents.contains_key(&content.id) {
            return Ok(());
        }
        let reason = "an asset refers to it and it is unknown";
        Err(corrupt(format!("content {}", content.id), reason))
    }

    /// The contents of a batch come first: any of its dispatches may refer to them.
    fn take_content(&mut self, change: &Change) -> Result<(), Error> {
        let Change::Asset { content, small, .. } = change else { return Ok(()) };
        match small {
            Some(bytes) if bytes.len() as u64 != content.size => {
                return Err(internal(format!("content {} came with other bytes", content.id)));
            }
            Some(bytes) => {
                self.small.entry(content.id).or_insert_with(|| bytes.clone());
            }
            None if content.size <= INLINE_BYTES_MAX as u64 => return Ok(()),
            None => {}
        }
        self.contents.entry(content.id).or_insert(*content);
        Ok(())
    }

    fn apply_one(&mut self, set: &ChangeSet, change: &Change) -> Result<(), Error> {
        match change {
            Change::Register(registration) => self.register(set, registration),
            Change::Dispatch(state) => {
                self.entry_mut(&set.dispatch)?.state = *state;
                Ok(())
            }
            Change::Node { node, state } => {
                let entry = self.entry_mut(&set.dispatch)?;
                *entry.nodes.get_mut(node.index()).ok_or_else(|| no_node(*node))? = *state;
                Ok(())
            }
            Change::Asset { address, content, .. } => {
                self.put_asset(&set.dispatch, *address, AssetState::Present(*content))
            }
            Change::Announce { address, announced } => {
                self.put_asset(&set.dispatch, *address, AssetState::Awaited(*announced))
            }
            // After all others.
            Change::Fulfil { .. } => Ok(()),
            Change::Link { node, child } => self.link(&set.dispatch, *node, child),
            Change::Firing(decision) => self.triggers.claim(decision),
        }
    }

    fn register(&mut self, set: &ChangeSet, registration: &Registration) -> Result<(), Error> {
        if self.dispatches.contains_key(&set.dispatch) {
            return Err(Error::Exists { dispatch: set.dispatch.clone() });
        }
        let entry = Entry {
            root: registration.root.clone(),
            parent: None,
            created_at: set.at,
            updated_at: set.at,
            state: DispatchState::default(),
            nodes: registration.nodes.iter().map(|node| node.state).collect(),
            registration: Arc::new(registration.clone()),
            assets: BTreeMap::new(),
        };
        self.dispatches.insert(set.dispatch.clone(), Arc::new(entry));
        self.order.push(set.dispatch.clone());
        for (address, state) in &registration.assets {
            self.put_asset(&set.dispatch, *address, *state)?;
        }
        if let Some((parent, node)) = &registration.parent {
            self.part_and_hang(parent, *node, &set.dispatch)?;
        }
        Ok(())
    }

    fn put_asset(
        &mut self,
        dispatch: &DispatchId,
        address: AssetAddress,
        state: AssetState,
    ) -> Result<(), Error> {
        state.content().map_or(Ok(()), |content| self.check_known(content))?;
        let entry = self.entry_mut(dispatch)?;
        match address.node {
            Some(node) if node.index() >= entry.nodes.len() => Err(no_node(node)),
            _ => {
                entry.assets.insert(address, state);
                Ok(())
            }
        }
    }

    fn link(&mut self, parent: &DispatchId, node: NodeId, child: &DispatchId) -> Result<(), Error> {
        self.entry(child)?;
        let mut above = Some(parent.clone());
        while let Some(dispatch) = above {
            if dispatch == *child {
                return Err(internal(format!("dispatch {child} would stand above itself")));
            }
            above = self.entry(&dispatch)?.parent.as_ref().map(|(parent, _)| parent.clone());
        }
        self.part_and_hang(parent, node, child)?;
        let root = self.entry(parent)?.root.clone();
        self.set_root(child, &root)
    }

    fn part_and_hang(
        &mut self,
        parent: &DispatchId,
        node: NodeId,
        child: &DispatchId,
    ) -> Result<(), Error> {
        if node.index() >= self.entry(parent)?.nodes.len() {
            return Err(no_node(node));
        }
        if let Some(earlier) = self.child_of(parent, node).filter(|earlier| earlier != child) {
            self.entry_mut(&earlier)?.parent = None;
            self.set_root(&earlier, &earlier)?;
        }
        self.entry_mut(child)?.parent = Some((parent.clone(), node));
        Ok(())
    }

    fn set_root(&mut self, top: &DispatchId, root: &DispatchId) -> Result<(), Error> {
        let mut below = vec![top.clone()];
        while let Some(dispatch) = below.pop() {
            self.entry_mut(&dispatch)?.root = root.clone();
            let is_child = |entry: &Entry| {
                entry.parent.as_ref().is_some_and(|(parent, _)| *parent == dispatch)
            };
            let children = self.dispatches.iter().filter(|(_, entry)| is_child(entry));
            below.extend(children.map(|(child, _)| child.clone()));
        }
        Ok(())
    }

    fn child_of(&self, parent: &DispatchId, node: NodeId) -> Option<DispatchId> {
        let place = Some((parent.clone(), node));
        let mut dispatches = self.dispatches.iter();
        dispatches.find(|(_, entry)| entry.parent == place).map(|(child, _)| child.clone())
    }

    pub(super) fn load(&self, dispatch: &DispatchId) -> Result<StoredDispatch, Error> {
        let entry = self.entry(dispatch)?;
        let registered = &entry.registration;
        let kinds: Vec<NodeKind> = registered.nodes.iter().map(|node| node.kind).collect();
        let graph = Graph::new(&kinds, &registered.edges)
            .map_err(|error| corrupt(format!("dispatch {dispatch}"), error))?;
        let nodes = (0_u32..).map(NodeId).zip(registered.nodes.iter().zip(&entry.nodes));
        let mut nodes: Vec<StoredNode> = nodes
            .map(|(id, (node, state))| StoredNode {
                sub_dispatch: self.child_of(dispatch, id),
                ..StoredNode::new(node.executor, *state)
            })
            .collect();
        let mut functions = Functions::default();
        for (AssetAddress { node, key }, state) in &entry.assets {
            let node = node.and_then(|node| nodes.get_mut(node.index()));
            let (Some(node), Some(content)) = (node, state.content()) else { continue };
            node.contents.set(*key, *content, &mut functions);
        }
        Ok(StoredDispatch {
            dispatch: dispatch.clone(),
            root: entry.root.clone(),
            parent: entry.parent.clone(),
            state: entry.state,
            graph,
            executors: registered.executors.clone(),
            nodes,
        })
    }

    pub(super) fn record(&self, dispatch: &DispatchId) -> Result<DispatchRecord, Error> {
        let entry = self.entry(dispatch)?;
        let registered = &entry.registration;
        let assets_of = |owner| {
            let assets = entry.assets.iter().filter(move |(address, _)| address.node == owner);
            assets.map(|(address, state)| (*address, *state)).collect()
        };
        let nodes = (0_u32..).map(NodeId).zip(registered.nodes.iter().zip(&entry.nodes));
        let nodes = nodes.map(|(id, (node, state))| NodeRecord {
            name: node.name.clone(),
            kind: node.kind,
            task_group: node.task_group,
            executor: node.executor,
            state: *state,
            sub_dispatch: self.child_of(dispatch, id),
            assets: assets_of(Some(id)),
        });
        let mut edges: Vec<Edge> = registered.edges.clone();
        edges.sort_by_key(|edge| edge.target);
        Ok(DispatchRecord {
            summary: summary(dispatch, entry),
            lattice: registered.lattice.clone(),
            executors: registered.executors.clone(),
            nodes: nodes.collect(),
            edges,
            assets: assets_of(None),
        })
    }

    pub(super) fn awaited(&self, dispatch: &DispatchId) -> Result<Awaited, Error> {
        let entry = self.entry(dispatch)?;
        let assets = entry.assets.iter().filter_map(|(address, state)| match state {
            AssetState::Awaited(announced) => Some((*address, *announced)),
            AssetState::Present(_) => None,
        });
        let node_count = u32::try_from(entry.nodes.len()).map_err(internal)?;
        Ok(Awaited { assets: assets.collect(), node_count })
    }

    pub(super) fn known_content(&self, announced: &Announced) -> Option<ContentRef> {
        let sha1 = announced.sha1?;
        let is_meant = |one: &&ContentRef| one.sha1 == sha1 && one.size == announced.size;
        let mut found = self.contents.values().filter(is_meant);
        match (found.next(), found.next()) {
            (Some(content), None) => Some(*content),
            _ => None,
        }
    }

    pub(super) fn unfinished(&self) -> Vec<DispatchId> {
        let is_unfinished = |dispatch: &&DispatchId| {
            let status = self.dispatches.get(*dispatch).map(|entry| entry.state.status);
            status.is_some_and(|status| !status.is_terminal() && !is_before_start(status))
        };
        self.order.iter().filter(is_unfinished).cloned().collect()
    }

    pub(super) fn matching(
        &self,
        query: &Query,
    ) -> impl DoubleEndedIterator<Item = (&DispatchId, &Entry)> {
        let entries = self.order.iter().filter_map(|id| Some((id, self.entry(id).ok()?)));
        let mut listed: Vec<_> = entries.collect();
        listed.sort_by_key(|(_, entry)| entry.created_at);
        let place = |behind| listed.iter().position(|(id, _)| *id == behind);
        match (query.behind.as_ref().map(place), query.latest_first) {
            (None, _) => {}
            (Some(None), _) => listed.clear(),
            (Some(Some(place)), true) => listed.truncate(place),
            (Some(Some(place)), false) => drop(listed.drain(..=place)),
        }
        listed.into_iter().filter(move |(dispatch, entry)| {
            (query.ids.is_empty() || query.ids.contains(dispatch))
                && query.prefix.as_ref().is_none_or(|prefix| dispatch.as_str().starts_with(prefix))
                && is_asked_for(entry, query)
        })
    }

    pub(super) fn summaries(&self, query: &Query) -> Vec<Summary> {
        let mut found: Vec<_> = self.matching(query).collect();
        if query.latest_first {
            found.reverse();
        }
        let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
        let page = found.into_iter().skip(offset).take(query.limit as usize);
        page.map(|(dispatch, entry)| summary(dispatch, entry)).collect()
    }
}

fn is_asked_for(entry: &Entry, query: &Query) -> bool {
    (query.statuses.is_empty() || query.statuses.contains(&entry.state.status))
        && (!query.roots_only || entry.parent.is_none())
        && query.name.as_ref().is_none_or(|name| *name == entry.registration.lattice.name)
        && query.since.is_none_or(|since| entry.created_at >= since)
        && query.until.is_none_or(|until| entry.created_at < until)
}

pub(super) fn is_before_start(status: Status) -> bool {
    matches!(status, Status::NewObject | Status::PendingReuse | Status::PendingReplacement)
}

fn no_node(node: NodeId) -> Error {
    internal(format!("a change names node {node}, which does not exist"))
}

fn summary(dispatch: &DispatchId, entry: &Entry) -> Summary {
    let completed = entry.nodes.iter().filter(|node| node.status == Status::Completed).count();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Summary {
        dispatch_id: dispatch.clone(),
        root_dispatch_id: entry.root.clone(),
        parent_dispatch_id: entry.parent.as_ref().map(|(parent, _)| parent.clone()),
        name: entry.registration.lattice.name.clone(),
        status: entry.state.status,
        node_count: count(entry.nodes.len()),
        completed_node_count: count(completed),
        created_at: entry.created_at,
        updated_at: entry.updated_at,
        started_at: entry.state.started_at,
        ended_at: entry.state.ended_at,
    }
}
