//! Keeps the start of a dispatch and the end of its uploads apart: what a start has read is not
//! replaced under it. Several uploads of one dispatch may end at once. Decides nothing.

use std::array;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use cov_core::ids::DispatchId;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Dispatches share gates, so that there is a fixed number of them.
const GATES: usize = 64;

/// The gates of all dispatches.
#[derive(Debug)]
pub(crate) struct Gates([Arc<RwLock<()>>; GATES]);

impl Default for Gates {
    fn default() -> Self {
        Self(array::from_fn(|_| Arc::default()))
    }
}

impl Gates {
    /// Waits for a start of the dispatch that is under way. Meanwhile none begins.
    pub(crate) async fn for_upload(&self, dispatch: &DispatchId) -> OwnedRwLockReadGuard<()> {
        self.of(dispatch).read_owned().await
    }

    /// Waits for the uploads of the dispatch that are being stored. Meanwhile none is.
    pub(crate) async fn for_start(&self, dispatch: &DispatchId) -> OwnedRwLockWriteGuard<()> {
        self.of(dispatch).write_owned().await
    }

    fn of(&self, dispatch: &DispatchId) -> Arc<RwLock<()>> {
        let mut hasher = DefaultHasher::new();
        dispatch.hash(&mut hasher);
        let gate = usize::try_from(hasher.finish() % GATES as u64).unwrap_or(0);
        let [first, ..] = &self.0;
        Arc::clone(self.0.get(gate).unwrap_or(first))
    }
}
