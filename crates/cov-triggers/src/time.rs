//! A trigger that fires again and again after the same time. Reads no clock: the service does.

use std::sync::Arc;
use std::time::Duration;

use cov_core::time::Timestamp;
use cov_core::trigger::Dictionary;

use crate::fields::{Fields, Seconds};
use crate::trigger::{Missed, Schedule};
use crate::{Base, Error, Source, Trigger};

/// The shortest time between two ticks.
const TIME_GAP_MIN: Duration = Duration::from_millis(1);

/// Fires every `time_gap` seconds.
///
/// The ticks lie on a grid that begins with the registration: the n-th one is due n times the gap
/// after it, however long firing takes.
///
/// ```
/// use std::time::Duration;
/// use cov_triggers::{TimeTrigger, Trigger, TriggerExt};
/// let mut trigger = TimeTrigger::new(Duration::from_millis(2_500));
/// trigger.base_mut().lattice_dispatch_id = Some("d-1".parse().unwrap());
/// assert_eq!(trigger.to_dict()["time_gap"], 2.5);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TimeTrigger {
    base: Base,
    time_gap: Seconds,
}

impl TimeTrigger {
    /// Its class name.
    pub const NAME: &'static str = "TimeTrigger";

    /// A trigger that fires every `time_gap`; at least a millisecond.
    #[must_use]
    pub fn new(time_gap: Duration) -> Self {
        Self { base: Base::default(), time_gap: time_gap.max(TIME_GAP_MIN).into() }
    }

    /// Reads its own field, `time_gap`.
    ///
    /// # Errors
    /// It is missing, no number, or shorter than a millisecond.
    pub fn from_fields(fields: &mut Fields) -> Result<Self, Error> {
        let time_gap = fields.seconds("time_gap")?;
        if time_gap.duration() < TIME_GAP_MIN {
            return Err(fields.error("time_gap", "has to be at least 0.001 seconds"));
        }
        Ok(Self { base: Base::default(), time_gap })
    }

    /// The time between two ticks.
    #[must_use]
    pub fn time_gap(&self) -> Duration {
        self.time_gap.duration()
    }
}

impl Trigger for TimeTrigger {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn base(&self) -> &Base {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base {
        &mut self.base
    }

    fn own_fields(&self, fields: &mut Dictionary) {
        fields.insert("time_gap".to_owned(), self.time_gap.to_value());
    }

    fn source(&self) -> Source {
        Source::Ticks(Arc::new(Grid { gap: self.time_gap() }))
    }
}

/// Points of time with the same distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grid {
    gap: Duration,
}

impl Grid {
    fn gap_micros(self) -> i128 {
        i128::try_from(self.gap.as_micros()).unwrap_or(i128::MAX).max(1)
    }

    /// Which tick is the last one at or before `at`; the 0th is the registration itself.
    fn index(self, created_at: Timestamp, at: Timestamp) -> i128 {
        let passed = i128::from(at.as_micros()) - i128::from(created_at.as_micros());
        passed.div_euclid(self.gap_micros())
    }

    fn tick(self, created_at: Timestamp, index: i128) -> Option<Timestamp> {
        let micros = index.checked_mul(self.gap_micros())?;
        let micros = micros.checked_add(i128::from(created_at.as_micros()))?;
        i64::try_from(micros).ok().map(Timestamp::from_micros)
    }
}

impl Schedule for Grid {
    // The grid reaches back before the registration as well: a clock that was set back must not
    // silence a trigger until it has caught up.
    fn next(&self, created_at: Timestamp, after: Timestamp) -> Option<Timestamp> {
        self.tick(created_at, self.index(created_at, after) + 1)
    }

    fn missed(&self, created_at: Timestamp, after: Timestamp, until: Timestamp) -> Missed {
        let (first, last) = (self.index(created_at, after), self.index(created_at, until));
        let count = u64::try_from(last - first).unwrap_or(0);
        let last = if count == 0 { None } else { self.tick(created_at, last) };
        Missed { count, exact: true, last }
    }
}

#[cfg(test)]
mod tests;
