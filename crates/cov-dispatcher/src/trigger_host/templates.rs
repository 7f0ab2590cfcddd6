//! What dispatching an ended dispatch again, unchanged, would register. The same every time, so it
//! is prepared once: ten thousand firings then look up nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cov_core::ids::DispatchId;
use cov_store::model::Change;

use crate::registration::Prepared;
use crate::service::Shared;
use crate::{Error, redispatch};

/// How many nodes, edges and assets of all templates together are kept.
const PARTS_MAX: usize = 500_000;

#[derive(Debug, Default)]
pub(super) struct Templates(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    by_original: HashMap<DispatchId, Arc<Template>>,
    parts: usize,
}

/// The changes that register a dispatch like another, all but its id.
#[derive(Debug)]
pub(super) struct Template {
    changes: Vec<Change>,
    parts: usize,
}

impl Template {
    fn new(changes: Vec<Change>) -> Self {
        let parts_of = |change: &Change| match change {
            Change::Register(one) => one.nodes.len() + one.edges.len() + one.assets.len(),
            _ => 1,
        };
        let parts = changes.iter().map(parts_of).sum();
        Self { changes, parts }
    }

    /// The changes that register `dispatch`.
    pub(super) fn changes(&self, dispatch: &DispatchId) -> Vec<Change> {
        let mut changes = self.changes.clone();
        for change in &mut changes {
            if let Change::Register(registration) = change {
                registration.root = dispatch.clone();
            }
        }
        changes
    }
}

impl Templates {
    /// The template of `original`, which has ended.
    pub(super) async fn of(
        &self,
        shared: &Shared,
        original: &DispatchId,
    ) -> Result<Arc<Template>, Error> {
        if let Some(template) = self.state().by_original.get(original) {
            return Ok(Arc::clone(template));
        }
        let Prepared { registered, changes } =
            redispatch::prepare_unchanged(shared, original).await?;
        if !registered.uploads.is_empty() {
            let missing = registered.uploads.into_iter().collect();
            return Err(Error::AssetsMissing { dispatch: original.clone(), missing });
        }
        let template = Arc::new(Template::new(changes));
        self.keep(original, &template);
        Ok(template)
    }

    pub(super) fn forget(&self, original: &DispatchId) {
        let mut state = self.state();
        if let Some(template) = state.by_original.remove(original) {
            state.parts -= template.parts;
        }
    }

    fn keep(&self, original: &DispatchId, template: &Arc<Template>) {
        let mut state = self.state();
        if state.parts + template.parts > PARTS_MAX {
            *state = State::default();
        }
        if template.parts > PARTS_MAX {
            return;
        }
        state.parts += template.parts;
        if let Some(earlier) = state.by_original.insert(original.clone(), Arc::clone(template)) {
            state.parts -= earlier.parts;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Between any two calls the state is whole, also if a caller panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
