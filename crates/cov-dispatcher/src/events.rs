//! What has become durable, for whoever follows it. The committer tells of a change after it is
//! committed, so nothing is shown here that a crash could take back. Keeps the latest events
//! only: who is slower than that is told so, and reads the present state instead.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;
use cov_core::time::Timestamp;
use cov_store::model::{Change, ChangeSet};
use tokio::sync::watch;

use crate::handle::Handle;

/// How many events are kept.
const KEPT_MAX: usize = 8_192;

/// Most events that one call hands out.
const HANDED_OUT_MAX: usize = 256;

/// Where an event stands among those of one start of the server. Ordered; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The boot epoch.
    pub epoch: u32,
    /// The event's number within it, from 1.
    pub number: u64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch, self.number)
    }
}

/// A text that is no [`Position`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event id has the form 3-17")]
pub struct PositionError;

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (epoch, number) = text.split_once('-').ok_or(PositionError)?;
        let (Ok(epoch), Ok(number)) = (epoch.parse(), number.parse()) else {
            return Err(PositionError);
        };
        Ok(Self { epoch, number })
    }
}

/// One change that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it stands.
    pub position: Position,
    /// The dispatch that changed.
    pub dispatch: DispatchId,
    /// When the step was made.
    pub at: Timestamp,
    /// What changed.
    pub changed: Changed,
}

/// What changed of a dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It was registered.
    Registered,
    /// Its own state is this now.
    Dispatch(Status),
    /// The state of one of its nodes is this now.
    Node(NodeId, Status),
    /// This became the sub-dispatch of one of its nodes.
    Link(NodeId, DispatchId),
}

/// What a subscription hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// Events in their order, without a gap. Never empty.
    Events(Vec<Event>),
    /// Events were missed. The next ones follow from here.
    Lagged {
        /// The position of the newest event that exists.
        newest: Position,
    },
}

/// The latest events, and who waits for more. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    epoch: u32,
    kept: Arc<Mutex<Kept>>,
    newest: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Event>,
    /// Number of the newest event ever.
    newest: u64,
}

impl Feed {
    pub(crate) fn new(epoch: u32) -> Self {
        let (newest, _) = watch::channel(0);
        Self { epoch, kept: Arc::default(), newest: Arc::new(newest) }
    }

    /// Tells what these sets, which are durable, have changed.
    pub(crate) fn publish(&self, sets: &[ChangeSet]) {
        let mut kept = self.lock();
        for set in sets {
            for changed in set.changes.iter().filter_map(changed) {
                kept.newest += 1;
                let position = Position { epoch: self.epoch, number: kept.newest };
                let event = Event { position, dispatch: set.dispatch.clone(), at: set.at, changed };
                kept.events.push_back(event);
            }
        }
        let surplus = kept.events.len().saturating_sub(KEPT_MAX);
        kept.events.drain(..surplus);
        self.newest.send_replace(kept.newest);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows from behind `after`, or from now on.
    pub(crate) fn subscribe(&self, after: Option<Position>) -> Subscription {
        let news = self.newest.subscribe();
        let newest = self.lock().newest;
        let next = match after {
            None => newest + 1,
            // Of another start, or of none: whatever it missed is not here.
            Some(after) if after.epoch != self.epoch || after.number > newest => 0,
            Some(after) => after.number + 1,
        };
        Subscription { feed: self.clone(), news, next }
    }
}

fn changed(change: &Change) -> Option<Changed> {
    match change {
        Change::Register(_) => Some(Changed::Registered),
        Change::Dispatch(state) => Some(Changed::Dispatch(state.status)),
        Change::Node { node, state } => Some(Changed::Node(*node, state.status)),
        Change::Link { node, child } => Some(Changed::Link(*node, child.clone())),
        _ => None,
    }
}

/// Follows what becomes durable. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    feed: Feed,
    news: watch::Receiver<u64>,
    /// The number of the next event to hand out; 0 when some were missed.
    next: u64,
}

impl Subscription {
    /// Waits for the next events. Returns `None` when there will be none, because the server ends.
    /// A call that is dropped midway misses nothing.
    pub async fn next(&mut self) -> Option<Followed> {
        loop {
            if let Some(followed) = self.take() {
                return Some(followed);
            }
            self.news.changed().await.ok()?;
        }
    }

    fn take(&mut self) -> Option<Followed> {
        // First, so that what is published from here on is news.
        self.news.mark_unchanged();
        let kept = self.feed.lock();
        let oldest = kept.events.front().map_or(kept.newest + 1, |event| event.position.number);
        if self.next < oldest && self.next <= kept.newest || self.next == 0 {
            self.next = kept.newest + 1;
            let newest = Position { epoch: self.feed.epoch, number: kept.newest };
            return Some(Followed::Lagged { newest });
        }
        let passed = usize::try_from(self.next - oldest).unwrap_or(usize::MAX);
        let events: Vec<Event> =
            kept.events.iter().skip(passed).take(HANDED_OUT_MAX).cloned().collect();
        let last = events.last()?;
        self.next = last.position.number + 1;
        Some(Followed::Events(events))
    }
}

impl Handle {
    /// Follows every change from behind `after`, which an earlier event carried, or from now on.
    #[must_use]
    pub fn events(&self, after: Option<Position>) -> Subscription {
        self.shared().feed.subscribe(after)
    }

    /// Returns when the server begins to stop.
    pub async fn closed(&self) {
        self.shared().closing.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(dispatch: &str, count: u32) -> ChangeSet {
        let link = |node| Change::Link { node: NodeId(node), child: "c".parse().unwrap() };
        ChangeSet {
            dispatch: dispatch.parse().unwrap(),
            at: Timestamp::from_micros(0),
            changes: (0..count).map(link).collect(),
        }
    }

    async fn numbers(following: &mut Subscription) -> Vec<u64> {
        match following.next().await.unwrap() {
            Followed::Events(events) => events.iter().map(|one| one.position.number).collect(),
            Followed::Lagged { .. } => Vec::new(),
        }
    }

    #[tokio::test]
    async fn events_come_in_order_and_from_where_one_stopped() {
        let feed = Feed::new(3);
        feed.publish(&[set("a", 2)]);
        let mut from_now = feed.subscribe(None);
        feed.publish(&[set("b", 1), set("c", 1)]);
        assert_eq!(numbers(&mut from_now).await, [3, 4]);
        let mut resumed = feed.subscribe(Some("3-1".parse().unwrap()));
        assert_eq!(numbers(&mut resumed).await, [2, 3, 4]);
        let (waited, ()) = tokio::join!(numbers(&mut resumed), async {
            tokio::task::yield_now().await;
            feed.publish(&[set("d", 1)]);
        });
        assert_eq!(waited, [5]);
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_and_goes_on_from_the_newest() {
        let feed = Feed::new(3);
        let mut slow = feed.subscribe(None);
        for _ in 0..=KEPT_MAX {
            feed.publish(&[set("a", 1)]);
        }
        let newest = Position { epoch: 3, number: KEPT_MAX as u64 + 1 };
        assert_eq!(slow.next().await, Some(Followed::Lagged { newest }));
        feed.publish(&[set("a", 1)]);
        assert_eq!(numbers(&mut slow).await, [KEPT_MAX as u64 + 2]);
        assert_eq!(feed.lock().events.len(), KEPT_MAX);
    }

    #[tokio::test]
    async fn a_position_of_another_start_is_behind() {
        let feed = Feed::new(3);
        for text in ["2-1", "3-9"] {
            let mut resumed = feed.subscribe(Some(text.parse().unwrap()));
            assert!(matches!(resumed.next().await, Some(Followed::Lagged { .. })), "{text}");
        }
        for text in ["", "3", "3-", "-1", "x-1", "3-1-1"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
