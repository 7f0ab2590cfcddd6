//! What a user may decide about the firings of a trigger, read from the further fields of its
//! dictionary. Says what is wanted; the machine does it.

use std::time::Duration;

use cov_core::trigger::Dictionary;

use crate::Error;
use crate::fields::{Fields, Seconds};

/// What happens to a firing while dispatches of its trigger are under way.
///
/// The first firing of a dispatch that never ran meets nothing under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// It fires, as in the seed. Only while the original itself is under way it waits, since a
    /// redispatch takes over what the original was made of.
    #[default]
    Allow,
    /// It is skipped.
    Skip,
    /// It waits if no other one waits, and is skipped otherwise.
    QueueOne,
    /// It waits.
    QueueAll,
    /// What is under way is cancelled; it fires when that has ended.
    CancelRunning,
}

impl Overlap {
    const KNOWN: [(&'static str, Self); 5] = [
        ("allow", Self::Allow),
        ("skip", Self::Skip),
        ("queue_one", Self::QueueOne),
        ("queue_all", Self::QueueAll),
        ("cancel_running", Self::CancelRunning),
    ];
}

/// What happens to events of a time in which nobody looked: the server was down, or the trigger
/// was paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// They are skipped, all with one row in the history.
    None,
    /// The last one counts.
    Last,
    /// All of them count.
    All,
}

impl CatchUp {
    const KNOWN: [(&'static str, Self); 3] =
        [("none", Self::None), ("last", Self::Last), ("all", Self::All)];
}

/// Events that come close together make one firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debounce {
    /// It fires when nothing has happened for so long.
    pub quiet: Duration,
    /// It fires at the latest so long after the first event, so that a steady stream cannot hold
    /// it up for ever.
    pub max_wait: Duration,
}

/// The policies of one trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policies {
    /// While dispatches are under way.
    pub overlap: Overlap,
    /// For a time in which nobody looked. Left open, it depends on the trigger: see
    /// [`Policies::catch_up_for`].
    pub catch_up: Option<CatchUp>,
    /// The longest delay of a firing. Each event has its own, always the same.
    pub jitter: Duration,
    /// Whether close events make one firing.
    pub debounce: Option<Debounce>,
    /// After so long, an incomplete batch fires.
    pub batch_timeout: Option<Duration>,
}

/// How many quiet times a steady stream is waited for, when `max_wait` is not given.
const QUIET_TIMES_MAX: u32 = 10;

impl Policies {
    /// Reads them from the further fields of a dictionary. `name` is the class name, for errors.
    ///
    /// # Errors
    /// One has the wrong type or an unknown value; the error lists the known ones.
    pub fn read(name: &str, extra: &Dictionary) -> Result<Self, Error> {
        const NAMES: [&str; 5] = ["overlap", "catch_up", "jitter", "debounce", "batch_timeout"];
        let set = extra.iter().filter(|(field, _)| NAMES.contains(&field.as_str()));
        let set: Dictionary = set.map(|(field, value)| (field.clone(), value.clone())).collect();
        if set.is_empty() {
            return Ok(Self::default());
        }
        let mut fields = Fields::named(name, set);
        let jitter = fields.optional_seconds("jitter")?;
        let batch_timeout = fields.optional_seconds("batch_timeout")?;
        Ok(Self {
            overlap: fields.choice("overlap", &Overlap::KNOWN)?.unwrap_or_default(),
            catch_up: fields.choice("catch_up", &CatchUp::KNOWN)?,
            jitter: jitter.as_ref().map_or(Duration::ZERO, Seconds::duration),
            debounce: read_debounce(&mut fields)?,
            batch_timeout: batch_timeout.as_ref().map(Seconds::duration),
        })
    }

    /// The catch-up policy. By default, ticks and polls that nobody saw are gone, since the next
    /// one says the same; what brings something of its own, like a file, is data and is kept.
    #[must_use]
    pub fn catch_up_for(&self, repeats: bool) -> CatchUp {
        let default = if repeats { CatchUp::None } else { CatchUp::All };
        self.catch_up.unwrap_or(default)
    }
}

fn read_debounce(fields: &mut Fields) -> Result<Option<Debounce>, Error> {
    let Some(value) = fields.take_set("debounce") else {
        return Ok(None);
    };
    let serde_json::Value::Object(parts) = value else {
        let expected = "has to be a dictionary of `quiet` and `max_wait`, in seconds";
        return Err(fields.error("debounce", expected));
    };
    let mut parts = Fields::named(&format!("{}: debounce", fields.name()), parts);
    let quiet = parts.seconds("quiet")?.duration();
    let max_wait = parts.optional_seconds("max_wait")?;
    let max_wait = max_wait.map_or(quiet.saturating_mul(QUIET_TIMES_MAX), |max| max.duration());
    if max_wait < quiet {
        return Err(parts.error("max_wait", "has to be at least `quiet`"));
    }
    if let Some(unknown) = parts.rest().keys().next() {
        let reason = format!("knows `quiet` and `max_wait`, and not `{unknown}`");
        return Err(fields.error("debounce", reason));
    }
    Ok(Some(Debounce { quiet, max_wait }))
}

#[cfg(test)]
mod tests;
