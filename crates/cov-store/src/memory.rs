//! The reference implementation, in memory: what the contract means, said as plainly as possible.
//! For tests; keeps nothing when it is dropped.

mod contents;
mod purge;
mod state;
mod triggers;

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cov_core::asset::{Announced, AssetAddress, AssetState, ContentRef};
use cov_core::ids::{ContentId, DispatchId, NodeId};
use cov_core::result::Summary;

use crate::fault::from_io;
use crate::model::{ChangeSet, DispatchRecord, PurgeQuery, Purged, Query, StoredDispatch};
use crate::{Awaited, BackupReader, Blob, ContentWriter, Contents, Error, Staged, Store};
use contents::{Holder, MemoryWriter};
use state::State;

/// A store in memory, with a spool in a temporary folder.
#[derive(Debug)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    holder: Arc<Holder>,
}

impl MemoryStore {
    /// An empty store.
    ///
    /// # Errors
    /// The spool's folder cannot be created.
    pub fn new() -> Result<Self, Error> {
        let holder = Holder::new().map_err(from_io)?;
        Ok(Self { state: Arc::default(), holder: Arc::new(holder) })
    }

    /// The store as a new process would open it after the death of the old one: the spool is
    /// empty, what was committed is there.
    ///
    /// # Errors
    /// The spool cannot be emptied.
    pub fn reopen(&self) -> Result<Self, Error> {
        self.holder.empty_spool().map_err(from_io)?;
        Ok(Self { state: Arc::clone(&self.state), holder: Arc::clone(&self.holder) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn begin_epoch(&self) -> Result<u32, Error> {
        let mut state = self.state();
        state.epoch += 1;
        Ok(state.epoch)
    }

    async fn commit(&self, batch: &[ChangeSet]) -> Result<(), Error> {
        let mut state = self.state();
        let mut next = state.clone();
        next.apply(batch)?;
        *state = next;
        self.holder.pins().release_batch(batch);
        Ok(())
    }

    async fn load(&self, dispatch: &DispatchId) -> Result<StoredDispatch, Error> {
        self.state().load(dispatch)
    }

    async fn unfinished(&self) -> Result<Vec<DispatchId>, Error> {
        Ok(self.state().unfinished())
    }

    async fn summaries(&self, query: &Query) -> Result<Vec<Summary>, Error> {
        Ok(self.state().summaries(query))
    }

    async fn count(&self, query: &Query) -> Result<u64, Error> {
        Ok(self.state().matching(query).count() as u64)
    }

    async fn record(&self, dispatch: &DispatchId) -> Result<DispatchRecord, Error> {
        self.state().record(dispatch)
    }

    async fn asset(
        &self,
        dispatch: &DispatchId,
        address: AssetAddress,
    ) -> Result<Option<AssetState>, Error> {
        Ok(self.state().entry(dispatch)?.assets.get(&address).copied())
    }

    async fn awaited(&self, dispatch: &DispatchId) -> Result<Awaited, Error> {
        self.state().awaited(dispatch)
    }

    async fn known_contents(
        &self,
        announced: &[Announced],
    ) -> Result<Vec<Option<ContentRef>>, Error> {
        let state = self.state();
        let known: Vec<_> = announced.iter().map(|one| state.known_content(one)).collect();
        let distinct: HashSet<ContentId> = known.iter().flatten().map(|one| one.id).collect();
        distinct.into_iter().for_each(|id| self.holder.pins().pin(id));
        Ok(known)
    }

    async fn parent(&self, child: &DispatchId) -> Result<Option<(DispatchId, NodeId)>, Error> {
        Ok(self.state().entry(child)?.parent.clone())
    }

    async fn result_node(&self, dispatch: &DispatchId) -> Result<Option<NodeId>, Error> {
        Ok(self.state().entry(dispatch)?.registration.result_node())
    }

    async fn purge(&self, query: &PurgeQuery) -> Result<Purged, Error> {
        purge::purge(&mut self.state(), &self.holder, query)
    }

    async fn backup(&self) -> Result<Box<dyn BackupReader>, Error> {
        Err(Error::Refused("a store in memory has no backup".to_owned()))
    }
}

#[async_trait]
impl Contents for MemoryStore {
    async fn writer(&self) -> Result<Box<dyn ContentWriter>, Error> {
        Ok(Box::new(MemoryWriter::new(Arc::clone(&self.holder))))
    }

    async fn adopt(&self, path: &Path) -> Result<Staged, Error> {
        self.holder.adopt(path)
    }

    async fn read(&self, content: &ContentRef) -> Result<Blob, Error> {
        let small = self.state().small.get(&content.id).cloned();
        self.holder.read(content, small)
    }

    async fn read_all(&self, contents: &[ContentRef]) -> Result<Vec<Blob>, Error> {
        let mut read = Vec::with_capacity(contents.len());
        for content in contents {
            read.push(self.read(content).await?);
        }
        Ok(read)
    }

    fn spool(&self) -> &Path {
        self.holder.spool()
    }

    async fn holds(&self, content: &ContentId) -> Result<bool, Error> {
        Ok(self.state().small.contains_key(content) || self.holder.holds(content))
    }

    fn let_go(&self, content: &ContentId) {
        self.holder.pins().unpin(content);
    }
}
