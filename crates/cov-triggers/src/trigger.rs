//! The trait that every trigger type implements, a user's own too.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use cov_core::time::Timestamp;
use cov_core::trigger::Dictionary;

use crate::{Base, Error, Observer};

/// One trigger: a description of what to watch, and the watching itself.
#[async_trait]
pub trait Trigger: Debug + Send + Sync + 'static {
    /// The class name, by which a registry finds its type.
    fn name(&self) -> &str;

    /// What it has in common with all triggers.
    fn base(&self) -> &Base;

    /// What it has in common with all triggers, to change.
    fn base_mut(&mut self) -> &mut Base;

    /// Adds the fields of its own type to a dictionary.
    fn own_fields(&self, fields: &mut Dictionary);

    /// How it comes to its events.
    fn source(&self) -> Source;

    /// How many events make one firing; at least 1.
    fn events_per_firing(&self) -> u32 {
        1
    }

    /// Whether each of its events says the same thing again, like the tick of a clock or a poll
    /// that still finds rows, so that one of them can stand for several. The opposite are events
    /// that bring something of their own, like a new file. Decides the defaults of policies.
    fn repeats(&self) -> bool {
        matches!(self.source(), Source::Ticks(_))
    }

    /// Looks whether it could observe here and now, once, at registration.
    ///
    /// # Errors
    /// It never could, like a directory that does not exist or a database nobody here can speak
    /// to; it is not registered then.
    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Observes until [`Observer::stopped`], and hands every event to `observer`. Called for
    /// [`Source::Observed`] only. After an error it is called again, later and later.
    ///
    /// # Errors
    /// What it watches cannot be watched now.
    async fn observe(&self, observer: &mut Observer) -> Result<(), Error> {
        observer.stopped().await;
        Ok(())
    }

    /// Decides whether a call from outside, with `signature` over `body`, may fire it. The
    /// comparison must take the same time whatever is wrong.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when the caller did not prove it; [`Error::Refused`] when it is not
    /// meant to be called at all, which is the default.
    fn admit(&self, signature: Option<&str>, body: &[u8]) -> Result<(), Error> {
        let _unused = (signature, body);
        Err(Error::Refused(format!("a {} has no address to call", self.name())))
    }

    /// What it would see if it looked now: one line each for people; fires nothing.
    ///
    /// # Errors
    /// What it watches cannot be watched now.
    async fn preview(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

/// How a trigger comes to its events.
#[derive(Debug, Clone)]
pub enum Source {
    /// At points of time. All such triggers share one timer.
    Ticks(Arc<dyn Schedule>),
    /// By a task of its own that runs [`Trigger::observe`].
    Observed,
    /// By calls from outside only.
    Called,
}

/// Points of time.
pub trait Schedule: Debug + Send + Sync + 'static {
    /// The first point after `after`; `None` if there is none any more. `created_at` is when the
    /// trigger was registered.
    fn next(&self, created_at: Timestamp, after: Timestamp) -> Option<Timestamp>;

    /// What lies in `(after, until]`. Counts up to [`MISSED_MAX`] one by one; a schedule that can
    /// compute it should.
    fn missed(&self, created_at: Timestamp, after: Timestamp, until: Timestamp) -> Missed {
        let mut missed = Missed { count: 0, exact: true, last: None };
        let mut from = after;
        while let Some(tick) = self.next(created_at, from).filter(|tick| *tick <= until) {
            if missed.count == MISSED_MAX {
                missed.exact = false;
                missed.last = last_tick(self, created_at, tick, until);
                break;
            }
            missed.count += 1;
            missed.last = Some(tick);
            from = tick;
        }
        missed
    }
}

/// So many missed ticks are counted one by one; beyond that, there were "more than" so many.
pub const MISSED_MAX: u64 = 10_000;

/// Points of time that passed while nobody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// How many there were, at least.
    pub count: u64,
    /// Whether `count` is all of them.
    pub exact: bool,
    /// The last one.
    pub last: Option<Timestamp>,
}

/// The last tick in `[first, until]`, where `first` is one. Looks back from `until` in growing
/// steps, so that it costs little however many there are.
fn last_tick<S: Schedule + ?Sized>(
    schedule: &S,
    created_at: Timestamp,
    first: Timestamp,
    until: Timestamp,
) -> Option<Timestamp> {
    let mut window_micros: i64 = 60 * 1_000_000;
    loop {
        let from = until.as_micros().saturating_sub(window_micros).max(first.as_micros() - 1);
        let from = Timestamp::from_micros(from);
        let mut last = None;
        let mut tick = schedule.next(created_at, from);
        while let Some(found) = tick.filter(|tick| *tick <= until) {
            last = Some(found);
            tick = schedule.next(created_at, found);
        }
        if last.is_some() || from < first {
            return last;
        }
        window_micros = window_micros.saturating_mul(16);
    }
}
