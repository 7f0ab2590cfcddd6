//! Points in time, and the trait through which everybody reads them. No implementation here
//! reads a clock: the server hands one in, tests hand in their own.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since 1970-01-01T00:00:00 UTC.
///
/// Written and read as naive ISO 8601 in UTC with microseconds, the form of the Covalent SDK.
///
/// ```
/// use cov_core::time::Timestamp;
/// let at = Timestamp::from_micros(1_700_000_000_250_000);
/// assert_eq!(at.to_string(), "2023-11-14T22:13:20.250000");
/// assert_eq!("2023-11-14T22:13:20.25".parse(), Ok(at));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The point `micros` microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// The point `duration` later; saturates at the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// How long after `earlier` this point is; zero when it is before it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%S%.6f").fmt(f),
            // Outside the years that ISO 8601 can write; still tells the value.
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

/// A text that is no naive ISO 8601 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no UTC time of the form 2026-01-31T23:59:59.123456")]
pub struct TimestampError {
    /// The refused text, shortened.
    pub text: String,
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let refused = || TimestampError { text: text.chars().take(80).collect() };
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(at.as_microsecond()));
        }
        let naive: jiff::civil::DateTime = text.parse().map_err(|_source| refused())?;
        let zoned = naive.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_source| refused())?;
        Ok(Self(zoned.timestamp().as_microsecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Tells the time. Implemented once over the system clock, in the server, and by tests.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present moment. May jump when the machine's clock is set.
    fn now(&self) -> Timestamp;
}
