//! Calls that may come twice. What a client asked for is kept with the dispatch whose id it
//! chose, in the step that registers it; the same request under the same id is then answered with
//! the dispatch that is there, and another one is refused. Starts nothing.

use std::collections::HashSet;

use bytes::Bytes;
use cov_core::asset::{Announced, AssetAddress, AssetKey};
use cov_core::ids::{ContentId, DispatchId};
use cov_core::manifest::Manifest;
use cov_store::Staged;
use cov_store::model::Change;
use serde::{Deserialize, Serialize};

use crate::handle::{Handle, Registered};
use crate::registration::asked_once;
use crate::reports::stage;
use crate::service::Shared;
use crate::{Error, redispatch};

/// What a redispatch is made of.
#[derive(Debug)]
pub struct Redispatch {
    /// The dispatch to make it from.
    pub earlier: DispatchId,
    /// The new workflow with the digest of its manifest as the client wrote it, or `None` to run
    /// the earlier one again as it was.
    pub manifest: Option<(Manifest, ContentId)>,
    /// The id of the new dispatch. With one, the call may be repeated.
    pub dispatch_id: Option<DispatchId>,
    /// Take over the results of nodes that count as the same.
    pub reuse: bool,
}

/// What is kept of a request, and compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Request {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) manifest: Option<ContentId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) redispatch_of: Option<DispatchId>,
    #[serde(default)]
    pub(crate) reuse: bool,
}

impl Request {
    const ADDRESS: AssetAddress = AssetAddress { node: None, key: AssetKey::Request };

    /// The change that keeps the request.
    pub(crate) async fn kept(&self, shared: &Shared) -> Result<Change, Error> {
        let text = serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))?;
        let Staged { content, small } = stage(&*shared.contents, Bytes::from(text)).await?;
        Ok(Change::Asset { address: Self::ADDRESS, content, small })
    }
}

impl Handle {
    /// Registers a redispatch. With an id of the caller's choice it may be repeated: the same
    /// call is answered with the same dispatch, and makes no second one.
    ///
    /// # Errors
    /// As [`Handle::redispatch`]; the id is taken by a dispatch that was asked for otherwise.
    pub async fn redispatch_once(&self, asked: Redispatch) -> Result<Registered, Error> {
        self.check_open()?;
        let Redispatch { earlier, manifest, dispatch_id, reuse } = asked;
        let request = Request {
            manifest: manifest.as_ref().map(|(_, digest)| *digest),
            redispatch_of: Some(earlier.clone()),
            reuse,
        };
        if let Some(id) = &dispatch_id
            && let Some(there) = self.repeated(id, &request).await?
        {
            return Ok(there);
        }
        let beside = match &dispatch_id {
            Some(_) => vec![request.kept(self.shared()).await?],
            None => Vec::new(),
        };
        let chosen = dispatch_id.clone();
        let outcome = match manifest {
            Some((manifest, _)) => {
                let manifest = Manifest { dispatch_id: chosen, ..manifest };
                redispatch::redispatch(self.shared(), &earlier, manifest, reuse, beside).await
            }
            None => {
                let shared = self.shared();
                redispatch::redispatch_unchanged(shared, &earlier, chosen, reuse, beside).await
            }
        };
        match (outcome, dispatch_id) {
            // Somebody sent the same at the same time.
            (Err(Error::Exists { dispatch }), Some(_)) => self.must_be(&dispatch, &request).await,
            (outcome, _) => self.explain_missing(&earlier, outcome).await,
        }
    }

    /// The dispatch `id` if it was registered for the same request, or `None` if it is free.
    ///
    /// # Errors
    /// The id is taken by another request's dispatch.
    pub(crate) async fn repeated(
        &self,
        id: &DispatchId,
        request: &Request,
    ) -> Result<Option<Registered>, Error> {
        match self.must_be(id, request).await {
            Ok(there) => Ok(Some(there)),
            Err(Error::DispatchNotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn must_be(
        &self,
        id: &DispatchId,
        request: &Request,
    ) -> Result<Registered, Error> {
        let kept = self.read_asset(id, Request::ADDRESS).await?;
        let same = match kept {
            Some(blob) => {
                let bytes = redispatch::bytes_of(blob).await?;
                serde_json::from_slice::<Request>(&bytes).is_ok_and(|kept| kept == *request)
            }
            None => false,
        };
        match same {
            true => Ok(Registered { dispatch: id.clone(), uploads: self.missing(id).await? }),
            false => Err(Error::Exists { dispatch: id.clone() }),
        }
    }

    /// The assets that a registered dispatch still waits for, each content once, without those
    /// whose content has come otherwise.
    pub(crate) async fn missing(
        &self,
        dispatch: &DispatchId,
    ) -> Result<HashSet<AssetAddress>, Error> {
        let shared = self.shared();
        let awaited = shared.store.awaited(dispatch).await?.assets;
        if awaited.is_empty() {
            return Ok(HashSet::new());
        }
        let announced: Vec<Announced> = awaited.iter().map(|(_, announced)| *announced).collect();
        let known = shared.store.known_contents(&announced).await?;
        let unknown = awaited.into_iter().zip(known).filter(|(_, known)| known.is_none());
        Ok(asked_once(unknown.map(|(asset, _)| asset)))
    }
}
