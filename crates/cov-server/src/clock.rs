//! The system clock. The only place of the project that asks for the present time.

use std::time::{SystemTime, UNIX_EPOCH};

use cov_core::time::{Clock, Timestamp};

/// Reads the machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one implementation that reads a clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_of_this_century_and_goes_on() {
        let first = SystemClock.now();
        assert!(first > "2026-01-01T00:00:00".parse().unwrap());
        assert!(first < "2100-01-01T00:00:00".parse().unwrap());
        assert!(SystemClock.now() >= first);
    }
}
