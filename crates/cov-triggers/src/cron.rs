//! A trigger that fires when a clock on some wall shows certain times. Reads no clock itself.
//!
//! The pattern is matched against wall-clock times without any zone (`croner`); the zone (`jiff`)
//! says when the clock shows them. Twice a year most clocks are set:
//!
//! - *gap*: times are left out, like 02:00 to 03:00. A tick that would fall into it comes at the
//!   moment of the change (`next`; several of them are one), or not at all (`skip`).
//! - *fold*: times are shown twice. A tick comes the `first` time, the `second` time, or `both`.

use std::fmt;
use std::sync::Arc;

use cov_core::time::Timestamp;
use cov_core::trigger::Dictionary;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use crate::fields::Fields;
use crate::trigger::Schedule;
use crate::{Base, Error, Source, Trigger};

/// What becomes of ticks at times that the clock leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gap {
    /// They come at the moment of the change; several of them are one.
    #[default]
    Next,
    /// They do not come.
    Skip,
}

/// What becomes of ticks at times that the clock shows twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fold {
    /// They come the first time.
    #[default]
    First,
    /// They come the second time.
    Second,
    /// They come both times.
    Both,
}

const GAPS: [(&str, Gap); 2] = [("next", Gap::Next), ("skip", Gap::Skip)];
const FOLDS: [(&str, Fold); 3] =
    [("first", Fold::First), ("second", Fold::Second), ("both", Fold::Both)];

/// Fires at the times of a cron pattern, as the clocks of a time zone show them.
///
/// ```
/// use cov_triggers::{CronTrigger, Trigger};
/// use cov_triggers::cron::{Fold, Gap};
/// let trigger = CronTrigger::new("30 2 * * MON-FRI")?
///     .time_zone("Europe/Berlin")?
///     .gap(Gap::Skip)
///     .fold(Fold::Both);
/// assert_eq!(trigger.name(), "CronTrigger");
/// # Ok::<(), cov_triggers::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CronTrigger {
    base: Base,
    pattern: String,
    zone_name: String,
    calendar: Arc<Calendar>,
}

impl CronTrigger {
    /// Its class name.
    pub const NAME: &'static str = "CronTrigger";

    /// A trigger for a pattern of minute, hour, day, month and weekday, in UTC. A field for
    /// seconds may stand before them, and one for years after. With both a day and a weekday, one
    /// of them has to match, as in every cron.
    ///
    /// # Errors
    /// It is no such pattern, or one that never matches.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        let calendar = Calendar {
            pattern: parse(pattern).map_err(|why| wrong_pattern(pattern, &why))?,
            zone: TimeZone::UTC,
            gap: Gap::default(),
            fold: Fold::default(),
        };
        Ok(Self {
            base: Base::default(),
            pattern: pattern.to_owned(),
            zone_name: "UTC".to_owned(),
            calendar: Arc::new(calendar),
        })
    }

    /// The same in the zone of this IANA name, like `Europe/Berlin`.
    ///
    /// # Errors
    /// There is no such zone.
    pub fn time_zone(mut self, name: &str) -> Result<Self, Error> {
        let zone = TimeZone::get(name).map_err(|_unknown| Error::Field {
            trigger: Self::NAME.to_owned(),
            field: "time_zone".to_owned(),
            reason: format!("has to be an IANA name like Europe/Berlin, and is `{name}`"),
        })?;
        Arc::make_mut(&mut self.calendar).zone = zone;
        self.zone_name = name.to_owned();
        Ok(self)
    }

    /// The same with this policy for times that the clock leaves out.
    #[must_use]
    pub fn gap(mut self, gap: Gap) -> Self {
        Arc::make_mut(&mut self.calendar).gap = gap;
        self
    }

    /// The same with this policy for times that the clock shows twice.
    #[must_use]
    pub fn fold(mut self, fold: Fold) -> Self {
        Arc::make_mut(&mut self.calendar).fold = fold;
        self
    }

    /// Reads its own fields: `cron`, `time_zone`, `gap`, `fold`.
    ///
    /// # Errors
    /// The pattern is missing or none, or another field has an unknown value.
    pub fn from_fields(fields: &mut Fields) -> Result<Self, Error> {
        let pattern = fields.text("cron")?;
        let zone = fields.optional_text("time_zone")?;
        let gap = fields.choice("gap", &GAPS)?.unwrap_or_default();
        let fold = fields.choice("fold", &FOLDS)?.unwrap_or_default();
        let trigger = Self::new(&pattern)?.time_zone(zone.as_deref().unwrap_or("UTC"))?;
        Ok(trigger.gap(gap).fold(fold))
    }

    /// The next `count` ticks after a point in time.
    #[must_use]
    pub fn preview(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        let next = |after: &Timestamp| self.calendar.next(*after, *after);
        std::iter::successors(next(&after), next).take(count).collect()
    }
}

impl Trigger for CronTrigger {
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
        let gap = GAPS.iter().find(|(_, gap)| *gap == self.calendar.gap);
        let fold = FOLDS.iter().find(|(_, fold)| *fold == self.calendar.fold);
        fields.insert("cron".to_owned(), self.pattern.as_str().into());
        fields.insert("time_zone".to_owned(), self.zone_name.as_str().into());
        fields.insert("gap".to_owned(), gap.map(|(word, _)| *word).into());
        fields.insert("fold".to_owned(), fold.map(|(word, _)| *word).into());
    }

    fn source(&self) -> Source {
        Source::Ticks(Arc::clone(&self.calendar) as Arc<dyn Schedule>)
    }
}

fn wrong_pattern(pattern: &str, why: &str) -> Error {
    Error::Field {
        trigger: CronTrigger::NAME.to_owned(),
        field: "cron".to_owned(),
        reason: format!("has to be a cron pattern like `30 2 * * MON-FRI`; `{pattern}`: {why}"),
    }
}

fn parse(pattern: &str) -> Result<Cron, String> {
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Optional).build();
    let cron = parser.parse(pattern).map_err(|error| error.to_string())?;
    match next_on_the_wall(&cron, DateTime::constant(2000, 1, 1, 0, 0, 0, 0)) {
        Some(_) => Ok(cron),
        None => Err("no such time ever comes".to_owned()),
    }
}

/// The first time at or after `from` that matches, whatever any zone says.
fn next_on_the_wall(cron: &Cron, from: DateTime) -> Option<DateTime> {
    // Patterns match whole seconds, and croner leaves out the fraction of where it begins.
    let up = SignedDuration::from_nanos(i64::from(
        (1_000_000_000 - from.subsec_nanosecond()) % 1_000_000_000,
    ));
    let from = from.checked_add(up).ok()?;
    cron.find_next_occurrence(&from, true).ok()
}

/// The pattern on the wall of a zone.
#[derive(Clone)]
struct Calendar {
    pattern: Cron,
    zone: TimeZone,
    gap: Gap,
    fold: Fold,
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Calendar({} in {:?})", self.pattern.as_str(), self.zone.iana_name())
    }
}

/// A time between two changes of a zone's clock, during which it runs evenly.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    offset: Offset,
    /// The change that began it, with the offset before.
    began: Option<(jiff::Timestamp, Offset)>,
    /// The change that ends it, with the offset after.
    ends: Option<(jiff::Timestamp, Offset)>,
}

impl Stretch {
    /// The stretch in which `at` lies.
    fn around(zone: &TimeZone, at: jiff::Timestamp) -> Self {
        // The preceding change lies strictly before the point that is asked about.
        let just_after = at.checked_add(SignedDuration::from_nanos(1)).unwrap_or(at);
        let offset = zone.to_offset(at);
        let began = zone.preceding(just_after).next().map(|change| {
            let instant = change.timestamp();
            let before = instant.checked_sub(SignedDuration::from_nanos(1));
            (instant, zone.to_offset(before.unwrap_or(instant)))
        });
        let ends = zone.following(at).next().map(|change| (change.timestamp(), change.offset()));
        Self { offset, began, ends }
    }

    /// The wall-clock times of this stretch in which ticks come under a policy for folds.
    fn wall(&self, fold: Fold) -> (Option<DateTime>, Option<DateTime>) {
        let first = self.began.map(|(instant, before)| {
            let shown = self.offset.to_datetime(instant);
            if fold == Fold::First { shown.max(before.to_datetime(instant)) } else { shown }
        });
        let end = self.ends.map(|(instant, after)| {
            let shown = self.offset.to_datetime(instant);
            if fold == Fold::Second { shown.min(after.to_datetime(instant)) } else { shown }
        });
        (first, end)
    }

    /// The times that the change at its end leaves out.
    fn gap(&self) -> Option<(DateTime, DateTime)> {
        let (instant, after) = self.ends?;
        let (from, until) = (self.offset.to_datetime(instant), after.to_datetime(instant));
        (from < until).then_some((from, until))
    }
}

/// Stretches that are looked through for one tick. Zones change twice a year, and a pattern that
/// comes less often than once in this time is none.
const STRETCHES_MAX: usize = 1_000;

impl Calendar {
    fn find(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let mut from = after.checked_add(SignedDuration::from_micros(1)).ok()?;
        for _ in 0..STRETCHES_MAX {
            let stretch = Stretch::around(&self.zone, from);
            let (first, end) = stretch.wall(self.fold);
            let from_wall = stretch.offset.to_datetime(from);
            let from_wall = first.map_or(from_wall, |first| first.max(from_wall));
            let found = next_on_the_wall(&self.pattern, from_wall)?;
            if end.is_none_or(|end| found < end) {
                return stretch.offset.to_timestamp(found).ok();
            }
            let (change, _) = stretch.ends?;
            if self.gap == Gap::Next
                && let Some((gap, until)) = stretch.gap()
                && next_on_the_wall(&self.pattern, gap.max(from_wall))? < until
            {
                return Some(change);
            }
            from = change.max(self.shortcut(found));
        }
        None
    }

    /// A point that is surely before the tick at `found`, however the zone changes meanwhile.
    fn shortcut(&self, found: DateTime) -> jiff::Timestamp {
        let days = SignedDuration::from_hours(72);
        let before = Offset::UTC.to_timestamp(found).and_then(|at| at.checked_sub(days));
        before.unwrap_or(jiff::Timestamp::MIN)
    }
}

impl Schedule for Calendar {
    fn next(&self, _created_at: Timestamp, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_microsecond(after.as_micros()).ok()?;
        let found = self.find(after)?;
        Some(Timestamp::from_micros(found.as_microsecond()))
    }
}

#[cfg(test)]
mod tests;
