//! A batch of change sets, sorted by table. Later changes of the same thing come later, and win.
//! Speaks no SQL.

use std::collections::HashMap;

use bytes::Bytes;
use cov_core::asset::{AssetAddress, AssetState, ContentRef, INLINE_BYTES_MAX};
use cov_core::ids::{ContentId, DispatchId, NodeId};
use cov_core::time::Timestamp;

use super::super::Known;
use crate::Error;
use crate::fault::internal;
use crate::model::{Change, ChangeSet, DispatchState, NodeState, Registration};
use crate::triggers::Decision;

/// A batch by table. A *slot* is the index of a dispatch in `dispatches`.
#[derive(Debug, Default)]
pub(super) struct Batch<'a> {
    /// Every dispatch that is named, with its row once that is found or inserted.
    pub(super) dispatches: Vec<(&'a DispatchId, Option<Known>)>,
    /// The row of the next new dispatch.
    pub(super) next_row: NextRow,
    slots: HashMap<&'a DispatchId, usize>,
    pub(super) registrations: Vec<(usize, Timestamp, &'a Registration)>,
    pub(super) heads: Vec<Head>,
    head_of_slot: HashMap<usize, usize>,
    pub(super) nodes: Vec<(usize, NodeId, &'a NodeState)>,
    pub(super) assets: Vec<(usize, AssetAddress, AssetState)>,
    pub(super) contents: Vec<(ContentRef, Option<&'a Bytes>)>,
    content_index: HashMap<ContentId, usize>,
    /// Contents that every asset which awaits them gets.
    pub(super) fulfilled: Vec<(usize, ContentRef)>,
    pub(super) links: Vec<Link>,
    /// The decisions of triggers that made or start the dispatches.
    pub(super) firings: Vec<&'a Decision>,
}

/// Whether a content may not be known yet. A small one without its bytes is one that the caller
/// knows to be stored.
pub(super) fn may_be_new(content: &ContentRef, small: Option<&Bytes>) -> bool {
    small.is_some() || content.size > INLINE_BYTES_MAX as u64
}

/// A row number that no dispatch had before: nothing that a reader knows of a dispatch that is gone
/// may point to another one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NextRow {
    /// Above every number that this process has seen or given.
    pub(super) number: i64,
    /// Whether it is above every number in the database.
    pub(super) is_counted: bool,
}

/// What changes of a dispatch's own row; one a dispatch.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) slot: usize,
    pub(super) at: Timestamp,
    pub(super) state: Option<DispatchState>,
}

/// A node and the dispatch that becomes its sub-dispatch. Applied in order.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) parent: usize,
    pub(super) node: NodeId,
    pub(super) child: usize,
    /// Whether the child comes with this batch, has no children and brings its root.
    pub(super) at_registration: bool,
}

impl<'a> Batch<'a> {
    pub(super) fn new(sets: &'a [ChangeSet]) -> Self {
        let mut batch = Self::default();
        for set in sets {
            let slot = batch.slot(&set.dispatch);
            for change in &set.changes {
                batch.add(slot, set.at, change);
            }
            let registers =
                |change: &Change| matches!(change, Change::Register(_) | Change::Firing(_));
            if !set.changes.iter().all(registers) || set.changes.is_empty() {
                batch.head(slot, set.at);
            }
        }
        batch
    }

    fn add(&mut self, slot: usize, at: Timestamp, change: &'a Change) {
        match change {
            Change::Register(registration) => self.add_registration(slot, at, registration),
            Change::Dispatch(state) => self.head(slot, at).state = Some(*state),
            Change::Node { node, state } => self.nodes.push((slot, *node, state)),
            Change::Asset { address, content, small } => {
                self.add_content(*content, small.as_ref());
                self.assets.push((slot, *address, AssetState::Present(*content)));
            }
            Change::Announce { address, announced } => {
                self.assets.push((slot, *address, AssetState::Awaited(*announced)));
            }
            Change::Fulfil { content } => self.fulfilled.push((slot, *content)),
            Change::Link { node, child } => {
                let child = self.slot(child);
                self.links.push(Link { parent: slot, node: *node, child, at_registration: false });
            }
            Change::Firing(decision) => self.firings.push(decision),
        }
    }

    fn add_registration(&mut self, slot: usize, at: Timestamp, registration: &'a Registration) {
        self.registrations.push((slot, at, registration));
        let initial = NodeState::default();
        for (index, node) in (0_u32..).zip(&registration.nodes) {
            // A node without a row is in the first state.
            if node.state != initial {
                self.nodes.push((slot, NodeId(index), &node.state));
            }
        }
        let assets = registration.assets.iter();
        self.assets.extend(assets.map(|(address, state)| (slot, *address, *state)));
        if let Some((parent, node)) = &registration.parent {
            let parent = self.slot(parent);
            self.links.push(Link { parent, node: *node, child: slot, at_registration: true });
        }
    }

    fn add_content(&mut self, content: ContentRef, small: Option<&'a Bytes>) {
        let next = self.contents.len();
        let index = *self.content_index.entry(content.id).or_insert(next);
        match self.contents.get_mut(index) {
            None => self.contents.push((content, small)),
            Some((_, bytes)) => *bytes = bytes.or(small),
        }
    }

    fn slot(&mut self, dispatch: &'a DispatchId) -> usize {
        let next = self.dispatches.len();
        let slot = *self.slots.entry(dispatch).or_insert(next);
        if slot == next {
            self.dispatches.push((dispatch, None));
        }
        slot
    }

    fn head(&mut self, slot: usize, at: Timestamp) -> &mut Head {
        let next = self.heads.len();
        let index = *self.head_of_slot.entry(slot).or_insert(next);
        if index == next {
            self.heads.push(Head { slot, at, state: None });
        }
        let head = &mut self.heads[index];
        head.at = at;
        head
    }

    /// Every dispatch that is named, and where its row goes.
    pub(super) fn entries_mut(
        &mut self,
    ) -> impl Iterator<Item = (&'a DispatchId, &mut Option<Known>)> {
        self.dispatches.iter_mut().map(|(dispatch, known)| (*dispatch, known))
    }

    /// The dispatches whose rows are there, once the batch is committed.
    pub(super) fn committed(&self) -> impl Iterator<Item = (DispatchId, Known)> {
        let found = self.dispatches.iter();
        found.filter_map(|(dispatch, known)| Some(((*dispatch).clone(), (*known)?)))
    }

    /// The contents that came with their bytes.
    pub(super) fn small_contents(&self) -> impl Iterator<Item = (&ContentRef, &Bytes)> {
        self.contents.iter().filter_map(|(content, small)| Some((content, (*small)?)))
    }

    /// Whether `content` comes with this batch, and may not be known yet.
    pub(super) fn arrives(&self, content: &ContentId) -> bool {
        let found = self.content_index.get(content).and_then(|index| self.contents.get(*index));
        found.is_some_and(|(content, small)| may_be_new(content, *small))
    }

    /// The contents that assets refer to, with repetitions.
    pub(super) fn contents_named(&self) -> impl Iterator<Item = &ContentId> {
        let states = self.assets.iter().map(|(_, _, state)| state);
        let fulfilled = self.fulfilled.iter().map(|(_, content)| content);
        states.filter_map(|state| state.content()).chain(fulfilled).map(|content| &content.id)
    }

    /// Checks that every change names a dispatch and a node that exist.
    pub(super) fn check(&self) -> Result<(), Error> {
        for slot in 0..self.dispatches.len() {
            self.row(slot)?;
        }
        let of_nodes = self.nodes.iter().map(|(slot, node, _)| (*slot, *node));
        let of_assets =
            self.assets.iter().filter_map(|(slot, address, _)| Some((*slot, address.node?)));
        let of_links = self.links.iter().map(|link| (link.parent, link.node));
        for (slot, node) in of_nodes.chain(of_assets).chain(of_links) {
            let nodes = self.row(slot)?.nodes;
            if node.0 >= nodes {
                return Err(internal(format!("a change names node {node} of {nodes}")));
            }
        }
        Ok(())
    }
}
