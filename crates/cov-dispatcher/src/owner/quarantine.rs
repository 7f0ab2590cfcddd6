//! A dispatch that was under way and does not pass its check: it is shown as failed, with the
//! reason, so that nobody waits for it and no start tries it again. Repairs nothing: all else that
//! is stored of it stays as it is.

use bytes::Bytes;
use cov_core::asset::{AssetAddress, AssetKey, SmallContent};
use cov_core::ids::DispatchId;
use cov_core::state::DispatchState;
use cov_core::status::Status;
use cov_store::model::{Change, ChangeSet, Query};

use crate::Error;
use crate::effects::is_registered_only;
use crate::service::Shared;

/// Records that `id` is set aside because of `error`, if damage is what it says and the dispatch
/// was under way.
pub(super) async fn set_aside(shared: &Shared, id: &DispatchId, error: &Error) {
    if !matches!(error, Error::Store(cov_store::Error::Corrupt { .. })) {
        return;
    }
    let query = Query { ids: vec![id.clone()], limit: 1, ..Query::default() };
    let found = shared.store.summaries(&query).await.ok().and_then(|mut found| found.pop());
    let under_way = match &found {
        Some(summary) => !summary.status.is_terminal() && !is_registered_only(summary.status),
        // Too damaged to be listed.
        None => shared.store.unfinished().await.is_ok_and(|all| all.contains(id)),
    };
    if !under_way {
        return;
    }
    let now = shared.clock.now();
    let state = DispatchState {
        status: Status::Failed,
        started_at: found.and_then(|summary| summary.started_at),
        ended_at: Some(now),
        cancel_requested: false,
    };
    let text = format!(
        "The dispatch was set aside: {error}. It cannot go on. What is stored of it was left as it is."
    );
    let SmallContent { content, bytes } = SmallContent::new(Bytes::from(text));
    let address = AssetAddress::of_dispatch(AssetKey::Error);
    let changes =
        vec![Change::Dispatch(state), Change::Asset { address, content, small: Some(bytes) }];
    let set = ChangeSet { dispatch: id.clone(), at: now, changes };
    if let Err(error) = shared.committer.commit(set).await {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "that the dispatch is set aside cannot be stored");
    }
}
