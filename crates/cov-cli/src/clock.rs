//! The system's clock. The only place that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use cov_core::time::Timestamp;

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
