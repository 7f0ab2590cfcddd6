//! One event, or several that became one, on its way to a decision.

use bytes::Bytes;
use cov_core::time::Timestamp;
use cov_core::trigger::{Firing, Outcome};

use super::Machine;
use crate::Event;
use crate::host::Claim;

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A schedule.
    Tick,
    /// An observer.
    Observed,
    /// A call from outside, which is answered when it is decided.
    Called,
    /// A person; it fires also while the trigger is paused, and is not counted.
    ByHand,
}

impl Origin {
    /// Whether somebody waits for an answer.
    pub(super) fn is_call(self) -> bool {
        matches!(self, Self::Called | Self::ByHand)
    }
}

/// What may become a firing.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(super) key: String,
    pub(super) due: Timestamp,
    /// Why it fires, for people.
    pub(super) reason: String,
    pub(super) payload: Option<Bytes>,
    pub(super) marks: Vec<(String, Option<Bytes>)>,
    pub(super) origin: Origin,
    /// Whether a durable row says that it waits. Marks and payload are durable with it.
    pub(super) is_recorded: bool,
    pub(super) tries: u32,
    /// Why it waits, or failed, for the row that says so.
    pub(super) note: Option<String>,
    /// Why it does not fire, once that is decided.
    pub(super) skip: Option<String>,
    /// The order in which items were made.
    pub(super) number: u32,
}

/// A decision on its way to the host.
#[derive(Debug)]
pub(super) enum Decision {
    /// It makes no dispatch.
    Skip(Box<Item>),
    /// It waits for the end of what is under way.
    Hold(Box<Item>),
    /// It waits for the end of a pause.
    Keep(Box<Item>),
    /// It waits for the rest of its batch.
    Gather(Box<Item>),
    /// It is tried again then.
    Retry(Box<Item>, Timestamp),
    /// It is not tried again.
    Park(Box<Item>),
}

impl Decision {
    pub(super) fn item(&self) -> &Item {
        match self {
            Self::Skip(item)
            | Self::Hold(item)
            | Self::Keep(item)
            | Self::Gather(item)
            | Self::Retry(item, _)
            | Self::Park(item) => item,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Skip(_) => Outcome::Skipped,
            Self::Hold(_) | Self::Keep(_) | Self::Gather(_) => Outcome::Queued,
            Self::Retry(..) | Self::Park(_) => Outcome::Failed,
        }
    }

    /// Why, for people.
    pub(super) fn reason(&self) -> String {
        let item = self.item();
        let note = item.note.as_deref().unwrap_or_default();
        match self {
            Self::Skip(_) => item.skip.clone().unwrap_or_default(),
            Self::Retry(..) | Self::Park(_) => note.to_owned(),
            Self::Hold(_) => format!("{}; {note}", item.reason),
            Self::Keep(_) => format!("{}; waits until the trigger is resumed", item.reason),
            Self::Gather(_) => format!("{}; waits for what may follow", item.reason),
        }
    }

    pub(super) fn next_try(&self) -> Option<Timestamp> {
        match self {
            Self::Retry(_, at) => Some(*at),
            Self::Skip(_) | Self::Hold(_) | Self::Keep(_) | Self::Gather(_) | Self::Park(_) => None,
        }
    }
}

impl Machine {
    pub(super) fn number(&mut self) -> u32 {
        self.items_made = self.items_made.wrapping_add(1);
        self.items_made
    }

    pub(super) fn item(&mut self, event: Event, origin: Origin) -> Item {
        Item {
            key: event.key,
            due: event.at,
            reason: event.detail,
            payload: event.payload,
            marks: event.marks,
            origin,
            is_recorded: false,
            tries: 0,
            note: None,
            skip: None,
            number: self.number(),
        }
    }

    /// An item that tells why several events do not fire.
    pub(super) fn note(&mut self, key: String, due: Timestamp, why: String) -> Item {
        let event = Event { key, at: due, detail: String::new(), marks: Vec::new(), payload: None };
        Item { skip: Some(why), ..self.item(event, Origin::Tick) }
    }

    /// Takes up a row that waited when the server stopped.
    pub(super) fn take_up(&mut self, firing: Firing) {
        let event = Event {
            key: firing.event_key,
            at: firing.due_at,
            detail: firing.reason,
            marks: Vec::new(),
            payload: None,
        };
        let mut item = Box::new(Item { is_recorded: true, ..self.item(event, Origin::Observed) });
        match firing.next_try {
            Some(at) => {
                item.tries = 1;
                self.later.insert((at, item.number), item);
            }
            None => self.held.push_back(item),
        }
    }

    /// The decision about an item, with everything that becomes durable with it.
    pub(super) fn claim(
        &self,
        item: &Item,
        outcome: Outcome,
        reason: String,
        next_try: Option<Timestamp>,
        now: Timestamp,
    ) -> Claim {
        Claim {
            trigger: self.settings.id.clone(),
            firing: Firing {
                event_key: item.key.clone(),
                due_at: item.due,
                decided_at: now,
                outcome,
                reason,
                dispatch: None,
                next_try,
                payload: item.payload.clone(),
            },
            marks: item.marks.clone(),
            decided_until: self.decided_until(item.number),
        }
    }

    /// Up to where every tick has a durable row, once the item of this number has one: a tick
    /// that is tried again and has no row yet must be found again after a crash.
    fn decided_until(&self, number: u32) -> Timestamp {
        if self.settings.schedule.is_none() {
            return self.seen_until;
        }
        let open = self.ready.iter().chain(self.later.values());
        let open = open.filter(|item| {
            item.origin == Origin::Tick && !item.is_recorded && item.number != number
        });
        let gathered = [&self.pending, &self.catching_up].into_iter().flatten();
        let first = open.map(|item| item.due).chain(gathered.map(|gathered| gathered.first_due));
        let before = first.min().map(|due| Timestamp::from_micros(due.as_micros() - 1));
        before.map_or(self.seen_until, |before| before.min(self.seen_until))
    }
}
