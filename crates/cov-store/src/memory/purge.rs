//! Removing ended dispatches and what nobody refers to, in one go.

use std::collections::HashSet;

use cov_core::asset::AssetState;
use cov_core::ids::{ContentId, DispatchId};

use super::contents::Holder;
use super::state::{State, is_before_start};
use crate::Error;
use crate::fault::from_io;
use crate::model::{PurgeQuery, Purged};

pub(super) fn purge(
    state: &mut State,
    holder: &Holder,
    query: &PurgeQuery,
) -> Result<Purged, Error> {
    let mut next = state.clone();
    let mut purged = Purged::default();
    for root in purgeable(state, query) {
        for dispatch in hierarchy(state, &root) {
            next.dispatches.remove(&dispatch);
            next.order.retain(|one| *one != dispatch);
            purged.dispatches += 1;
        }
    }
    let entries = next.dispatches.values();
    let used: HashSet<ContentId> = entries
        .flat_map(|entry| entry.assets.values())
        .filter_map(AssetState::content)
        .map(|content| content.id)
        .collect();
    let is_unused = |id: &ContentId| !used.contains(id) && !holder.pins().is_kept(id);
    let unused: Vec<_> = next.contents.values().filter(|one| is_unused(&one.id)).copied().collect();
    for content in unused {
        purged.contents += 1;
        purged.bytes += content.size;
        next.contents.remove(&content.id);
        next.small.remove(&content.id);
        if !query.dry_run {
            holder.remove(&content.id).map_err(from_io)?;
        }
    }
    if !query.dry_run {
        *state = next;
    }
    Ok(purged)
}

fn purgeable(state: &State, query: &PurgeQuery) -> Vec<DispatchId> {
    let matches = |dispatch: &&DispatchId| {
        let Ok(entry) = state.entry(dispatch) else { return false };
        let ended = entry.state.ended_at.is_some_and(|at| at < query.ended_before);
        let asked = query.ended_statuses().any(|status| status == entry.state.status);
        entry.parent.is_none() && ended && asked && !is_under_way(state, dispatch)
    };
    state.order.iter().filter(matches).cloned().collect()
}

fn is_under_way(state: &State, root: &DispatchId) -> bool {
    let hierarchy = hierarchy(state, root);
    if hierarchy.iter().any(|dispatch| state.triggers.need(dispatch)) {
        return true;
    }
    hierarchy.iter().filter_map(|id| state.entry(id).ok()).any(|entry| {
        let status = entry.state.status;
        !status.is_terminal() && !is_before_start(status)
    })
}

/// A dispatch and everything below it.
fn hierarchy(state: &State, root: &DispatchId) -> Vec<DispatchId> {
    let mut found = vec![root.clone()];
    let mut next = 0;
    while let Some(above) = found.get(next).cloned() {
        next += 1;
        let below = state.order.iter().filter(|dispatch| {
            let parent = state.entry(dispatch).ok().and_then(|entry| entry.parent.as_ref());
            parent.is_some_and(|(parent, _)| *parent == above)
        });
        found.extend(below.cloned());
    }
    found
}
