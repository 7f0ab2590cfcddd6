//! Which dispatches have an owner, and how to reach it. At most one owner exists per dispatch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use cov_core::asset::ContentRef;
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::owner::Message;

/// How to reach the owner of a dispatch.
#[derive(Debug, Clone)]
pub struct Live {
    /// Its mailbox.
    pub mailbox: mpsc::Sender<Message>,
    /// Cancelled when the owner retires: the dispatch has ended, durably, or nothing is under
    /// way in it.
    pub retired: CancellationToken,
    /// How the dispatch ended. There before `retired` is, if it has ended.
    pub ended: Arc<OnceLock<Ended>>,
}

/// How a dispatch ended: what its owner had at hand when it retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its last status.
    pub status: Status,
    /// What the node that ends the lattice returned, if there is such a node and it did.
    pub result: Option<ContentRef>,
}

impl Live {
    /// An owner that takes its messages from `mailbox`.
    #[must_use]
    pub fn new(mailbox: mpsc::Sender<Message>) -> Self {
        Self { mailbox, retired: CancellationToken::new(), ended: Arc::default() }
    }
}

/// The owners by dispatch. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    live: Arc<Mutex<HashMap<DispatchId, Live>>>,
}

impl Registry {
    /// The owner of `dispatch`, if it has one.
    #[must_use]
    pub fn get(&self, dispatch: &DispatchId) -> Option<Live> {
        self.lock().get(dispatch).cloned()
    }

    /// The owner of `dispatch`; if it has none, `create` makes one, once.
    pub fn get_or_create(&self, dispatch: &DispatchId, create: impl FnOnce() -> Live) -> Live {
        self.lock().entry(dispatch.clone()).or_insert_with(create).clone()
    }

    /// Forgets the owner of `dispatch`, which retires, because the dispatch ended or for another
    /// reason.
    pub fn remove(&self, dispatch: &DispatchId, ended: Option<Ended>) {
        let removed = self.lock().remove(dispatch);
        if let Some(live) = removed {
            if let Some(ended) = ended {
                live.ended.set(ended).ok();
            }
            live.retired.cancel();
        }
    }

    /// How many owners there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are no owners.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DispatchId, Live>> {
        // The map is whole between any two of its calls, also if a caller panicked.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
