//! What somebody wants dispatched: checked, and told apart from what was ordered before.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;

use cov_core::asset::{Announced, AssetAddress, INLINE_BYTES_MAX};
use cov_core::ids::DispatchId;
use cov_core::manifest::document::{self, Parts, Source};
use cov_core::manifest::ended::Outcome;
use cov_core::manifest::{Manifest, ManifestAsset};

use super::{Intake, STEP_BYTES_MAX};
use crate::Error;
use crate::handle::Handle;
use crate::repeat::Request;
use crate::service::Shared;

/// A whole workflow that somebody wants dispatched.
#[derive(Debug)]
pub struct Order {
    /// Its manifest, and where the bytes of its assets come from. With an id of the caller's
    /// choice the order may be repeated: it is answered with the same dispatch.
    pub parts: Parts,
    /// The dispatch that it is made from, if it is a redispatch, and whether the results of nodes
    /// that count as the same are taken over.
    pub redispatch_of: Option<(DispatchId, bool)>,
    /// What became of it, if it ended elsewhere: it is stored as it is, and never runs.
    pub outcome: Option<Box<Outcome>>,
}

/// An order that was not given before, as far as is known.
pub(super) struct NewOrder {
    pub(super) manifest: Manifest,
    pub(super) request: Option<Request>,
    pub(super) redispatch_of: Option<(DispatchId, bool)>,
    pub(super) outcome: Option<Box<Outcome>>,
}

impl Handle {
    /// Begins to take in a workflow.
    ///
    /// # Errors
    /// The manifest is refused, an asset is over the limit, there is no earlier dispatch, or the
    /// chosen id is taken by a dispatch that was asked for otherwise; nothing was stored.
    pub async fn take_in(&self, order: Order) -> Result<Intake, Error> {
        self.check_open()?;
        let Order { parts: Parts { manifest, sources }, redispatch_of, outcome } = order;
        match &outcome {
            Some(outcome) => outcome.check(&manifest)?,
            None => manifest.check_bringer()?,
        }
        check_sizes(self.shared(), &manifest)?;
        let comes_at_once = comes_at_once(&manifest, &sources, redispatch_of.is_some());
        let bodies = manifest.assets.iter().zip(&sources);
        let bodies = bodies.filter(|(_, source)| **source == Source::Body).map(|(asset, _)| *asset);
        let bodies: VecDeque<ManifestAsset> = bodies.collect();
        let files: Vec<(ManifestAsset, PathBuf)> =
            manifest.assets.iter().zip(sources).filter_map(file_of).collect();
        let request = manifest.dispatch_id.is_some().then(|| Request {
            manifest: Some(match &outcome {
                Some(outcome) => outcome.digest(&manifest),
                None => document::digest(&manifest),
            }),
            redispatch_of: redispatch_of.as_ref().map(|(earlier, _)| earlier.clone()),
            reuse: redispatch_of.as_ref().is_some_and(|(_, reuse)| *reuse),
        });
        let before = match &comes_at_once {
            // Its one step tells whether the dispatch is there.
            Some(_) => None,
            None => self.ordered_before(&manifest, request.as_ref()).await?,
        };
        let mut intake = match before {
            Some(dispatch) => Intake::resumed(self, dispatch, outcome).await?,
            None => {
                let order = NewOrder { manifest, request, redispatch_of, outcome };
                Intake::new(self, order, comes_at_once.unwrap_or_default()).await?
            }
        };
        intake.bodies = bodies;
        for (asset, path) in files {
            intake.take_file(asset, &path).await?;
        }
        Ok(intake)
    }

    /// Which of these contents are held. They stay for an hour at least, so that a caller may
    /// rely on the answer.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn known(&self, contents: &[Announced]) -> Result<Vec<bool>, Error> {
        let known = self.shared().store.known_contents(contents).await?;
        Ok(known.iter().map(Option::is_some).collect())
    }

    async fn ordered_before(
        &self,
        manifest: &Manifest,
        request: Option<&Request>,
    ) -> Result<Option<DispatchId>, Error> {
        let (Some(id), Some(request)) = (&manifest.dispatch_id, request) else { return Ok(None) };
        Ok(self.repeated(id, request).await?.map(|there| there.dispatch))
    }
}

/// For a workflow whose stream fits into one step: which assets have their bytes in it, and need
/// not be looked for in the store.
fn comes_at_once(
    manifest: &Manifest,
    sources: &[Source],
    is_redispatch: bool,
) -> Option<HashSet<AssetAddress>> {
    if is_redispatch {
        return None;
    }
    let (mut bytes, mut addresses) = (0, HashSet::new());
    for (ManifestAsset { address, announced }, source) in manifest.assets.iter().zip(sources) {
        if announced.size > INLINE_BYTES_MAX as u64 || *source == Source::Elsewhere {
            continue;
        }
        bytes += announced.size;
        if *source == Source::Body {
            addresses.insert(*address);
        }
    }
    (bytes < STEP_BYTES_MAX as u64).then_some(addresses)
}

fn file_of((asset, source): (&ManifestAsset, Source)) -> Option<(ManifestAsset, PathBuf)> {
    match source {
        Source::File(path) => Some((*asset, path)),
        Source::Body | Source::Elsewhere => None,
    }
}

fn check_sizes(shared: &Shared, manifest: &Manifest) -> Result<(), Error> {
    let limit = shared.options.upload_bytes_max;
    match manifest.assets.iter().find(|asset| asset.announced.size > limit) {
        Some(asset) => Err(Error::TooLarge {
            what: asset.address.to_string(),
            size: asset.announced.size,
            limit,
        }),
        None => Ok(()),
    }
}
