//! Which contents must not be removed although nothing refers to them yet, or any more: those that
//! a caller was just told of, or has just staged, and is about to commit; and those that a backup
//! still has to read. Knows no files and no database.
//!
//! A pin is let go when a commit names its content, or after a while, since a caller may never
//! come back. A commit that comes later still finds out that the content is gone, and fails.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cov_core::asset::AssetState;
use cov_core::ids::{ContentId, DispatchId};

use crate::model::{Change, ChangeSet};

/// How long a content is kept for a caller that does not come back.
const PIN_LASTS: Duration = Duration::from_secs(3600);

/// Number of pins from which on those that are over are looked for.
const LOOK_FROM: usize = 1024;

/// The contents that are spoken for.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    pins: HashMap<ContentId, Pin>,
    /// When the number of pins reaches this, those that are over are looked for.
    look_at: usize,
    /// Contents that commits named since a purge began; `None` while there is none.
    named: Option<HashSet<ContentId>>,
    /// Contents whose rows are being removed.
    doomed: HashSet<ContentId>,
    /// How many removals were completed.
    removals: u64,
    /// What a backup still has to read.
    held: Held,
}

/// What stays because a backup refers to it.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    /// Its snapshot is being taken, and nobody knows yet what it refers to.
    Everything,
    These(HashSet<ContentId>),
}

#[derive(Debug)]
struct Pin {
    holders: u32,
    until: Instant,
}

impl Pins {
    /// Keeps `id` for a caller that staged it.
    pub(crate) fn pin(&self, id: ContentId) {
        self.state().pin(id);
    }

    /// How many removals were completed; for [`Pins::pin_found`].
    #[cfg(feature = "sqlite")]
    pub(crate) fn removals(&self) -> u64 {
        self.state().removals
    }

    /// Keeps those of the contents that were read since `removals` was asked for. Leaves out
    /// those that are being removed; `None` when some may be gone, and the read has to be
    /// repeated.
    #[cfg(feature = "sqlite")]
    pub(crate) fn pin_found<T>(
        &self,
        removals: u64,
        mut found: Vec<T>,
        id: impl Fn(&T) -> ContentId,
    ) -> Option<Vec<T>> {
        let mut state = self.state();
        if state.removals != removals {
            return None;
        }
        found.retain(|one| !state.doomed.contains(&id(one)));
        found.iter().for_each(|one| state.pin(id(one)));
        Some(found)
    }

    /// A commit is about to refer to these contents.
    pub(crate) fn name<'a>(&self, ids: impl Iterator<Item = &'a ContentId>) {
        if let Some(named) = &mut self.state().named {
            named.extend(ids);
        }
    }

    /// A batch was committed: each of its dispatches was a holder of the contents that it refers
    /// to now.
    pub(crate) fn release_batch(&self, batch: &[ChangeSet]) {
        let mut served: HashSet<(&DispatchId, ContentId)> = HashSet::new();
        for set in batch {
            served.extend(named_by(set).into_iter().map(|id| (&set.dispatch, id)));
        }
        self.release(served.iter().map(|(_, id)| id));
    }

    /// A holder of `id` has no use for it.
    pub(crate) fn unpin(&self, id: &ContentId) {
        self.release(std::iter::once(id));
    }

    /// One holder of each is served.
    fn release<'a>(&self, ids: impl Iterator<Item = &'a ContentId>) {
        let mut state = self.state();
        if state.pins.is_empty() {
            return;
        }
        for id in ids {
            let Some(pin) = state.pins.get_mut(id) else { continue };
            pin.holders -= 1;
            if pin.holders == 0 {
                state.pins.remove(id);
            }
        }
    }

    /// A purge begins: from now on it is noted what commits name. No commit may be under way.
    pub(crate) fn begin_purge(&self) {
        self.state().named = Some(HashSet::new());
    }

    /// The purge is over.
    pub(crate) fn end_purge(&self) {
        let mut state = self.state();
        state.named = None;
        state.doomed.clear();
        state.removals += 1;
    }

    /// A backup is about to take its snapshot. No removal may be under way.
    #[cfg(feature = "sqlite")]
    pub(crate) fn hold_everything(&self) {
        self.state().held = Held::Everything;
    }

    /// The snapshot was taken, and refers to these contents.
    #[cfg(feature = "sqlite")]
    pub(crate) fn hold(&self, ids: HashSet<ContentId>) {
        self.state().held = Held::These(ids);
    }

    /// The backup is over.
    #[cfg(feature = "sqlite")]
    pub(crate) fn let_go(&self) {
        self.state().held = Held::Nothing;
    }

    /// Whether somebody speaks for `id`.
    pub(crate) fn is_kept(&self, id: &ContentId) -> bool {
        self.state().is_kept(id)
    }

    /// Those of `candidates` that nobody speaks for; nobody is told of them any more.
    #[cfg(feature = "sqlite")]
    pub(crate) fn doom<T>(
        &self,
        candidates: impl IntoIterator<Item = T>,
        id: impl Fn(&T) -> ContentId,
    ) -> Vec<T> {
        let mut state = self.state();
        let free: Vec<T> = candidates.into_iter().filter(|one| !state.is_kept(&id(one))).collect();
        state.doomed.extend(free.iter().map(id));
        free
    }

    /// The rows of the doomed contents are gone, or stay.
    #[cfg(feature = "sqlite")]
    pub(crate) fn doom_is_over(&self) {
        let mut state = self.state();
        state.doomed.clear();
        state.removals += 1;
    }

    /// Does `remove` unless somebody speaks for `id`; nobody can begin to meanwhile.
    pub(crate) fn unless_kept<T>(&self, id: &ContentId, remove: impl FnOnce() -> T) -> Option<T> {
        let state = self.state();
        (!state.is_kept(id)).then(remove)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Between any two calls the state is whole, also if a caller panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    #[expect(
        clippy::disallowed_methods,
        reason = "a pin lasts by the machine's own clock; no decision of a dispatch hangs on it"
    )]
    fn pin(&mut self, id: ContentId) {
        let now = Instant::now();
        if self.pins.len() >= self.look_at.max(LOOK_FROM) {
            self.pins.retain(|_, pin| pin.until > now);
            self.look_at = self.pins.len() * 2;
        }
        let pin = self.pins.entry(id).or_insert(Pin { holders: 0, until: now });
        pin.holders = pin.holders.saturating_add(1);
        pin.until = now + PIN_LASTS;
    }

    #[expect(clippy::disallowed_methods, reason = "a pin lasts by the machine's own clock")]
    fn is_kept(&self, id: &ContentId) -> bool {
        let is_named = self.named.as_ref().is_some_and(|named| named.contains(id));
        let is_held = match &self.held {
            Held::Nothing => false,
            Held::Everything => true,
            Held::These(ids) => ids.contains(id),
        };
        is_held || is_named || self.pins.get(id).is_some_and(|pin| pin.until > Instant::now())
    }
}

/// The contents that a change set refers to, with repetitions.
fn named_by(set: &ChangeSet) -> Vec<ContentId> {
    let mut named = Vec::new();
    for change in &set.changes {
        match change {
            Change::Asset { content, .. } | Change::Fulfil { content } => named.push(content.id),
            Change::Register(registration) => {
                let states = registration.assets.iter().map(|(_, state)| state);
                named.extend(states.filter_map(AssetState::content).map(|content| content.id));
            }
            _ => {}
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ContentId {
        ContentId::from_bytes([number; 32])
    }

    #[test]
    fn each_holder_is_served_by_one_commit() {
        let pins = Pins::default();
        pins.pin(id(1));
        pins.pin(id(1));
        pins.release([id(1), id(2)].iter());
        assert!(pins.is_kept(&id(1)));
        pins.release([id(1)].iter());
        assert!(!pins.is_kept(&id(1)));
    }

    #[test]
    fn what_a_commit_names_during_a_purge_is_kept_until_its_end() {
        let pins = Pins::default();
        pins.name([id(1)].iter());
        assert!(!pins.is_kept(&id(1)));
        pins.begin_purge();
        pins.name([id(1)].iter());
        assert!(pins.is_kept(&id(1)));
        pins.end_purge();
        assert!(!pins.is_kept(&id(1)));
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn what_a_backup_refers_to_stays() {
        let pins = Pins::default();
        pins.hold_everything();
        assert!(pins.is_kept(&id(2)));
        pins.hold(HashSet::from([id(1)]));
        assert_eq!(pins.doom([id(1), id(2)], |id| *id), [id(2)]);
        assert_eq!(pins.unless_kept(&id(1), || ()), None);
        pins.let_go();
        assert!(!pins.is_kept(&id(1)));
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn nobody_is_told_of_what_goes() {
        let pins = Pins::default();
        let own = |id: &ContentId| *id;
        let before = pins.removals();
        pins.pin(id(3));
        assert_eq!(pins.doom([id(1), id(3)], own), [id(1)]);
        assert_eq!(pins.pin_found(before, vec![id(1), id(2)], own), Some(vec![id(2)]));
        pins.doom_is_over();
        // The row was read before it went.
        assert_eq!(pins.pin_found(before, vec![id(1)], own), None);
        assert_eq!(pins.unless_kept(&id(2), || ()), None);
        assert_eq!(pins.unless_kept(&id(1), || ()), Some(()));
    }
}
