//! When a failed attempt is followed by another.

use std::time::Duration;

use cov_core::error::Fault;
use cov_core::executor::TaskPolicy;

/// The pause before the first retry; it doubles with every further one.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The pause before the next attempt, or `None` when there is none. `failed` counts the failed
/// attempts, the present one included.
#[must_use]
pub fn next_attempt(policy: TaskPolicy, failed: u32, fault: Fault) -> Option<Duration> {
    let may_help = match fault {
        Fault::Task | Fault::Runner | Fault::Timeout | Fault::Lost => true,
        // The executor stays missing, and our own fault is not mended by trying again.
        Fault::Executor | Fault::Server => false,
    };
    if !may_help || failed > policy.retries {
        return None;
    }
    let doublings = failed.saturating_sub(1).min(16);
    Some(BACKOFF_FIRST.saturating_mul(1 << doublings).min(BACKOFF_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_end_with_the_count() {
        let policy = TaskPolicy { retries: 12, time_limit: None };
        let pause = |failed| next_attempt(policy, failed, Fault::Task);
        assert_eq!(pause(1), Some(BACKOFF_FIRST));
        assert_eq!(pause(3), Some(BACKOFF_FIRST * 4));
        assert_eq!(pause(12), Some(BACKOFF_MAX));
        assert_eq!(pause(13), None);
        assert_eq!(next_attempt(policy, 1, Fault::Executor), None);
        assert_eq!(next_attempt(TaskPolicy::default(), 1, Fault::Task), None);
    }
}
