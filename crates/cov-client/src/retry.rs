//! When a request is sent again, and how long to wait before. Pure arithmetic: sends nothing,
//! waits for nothing, and takes its randomness as an argument.

use std::time::Duration;

/// How often and how long a request is tried again. Only requests that change nothing on the
/// server, or change the same thing when repeated, are ever sent twice.
///
/// ```
/// use std::time::Duration;
/// use cov_client::{Client, RetryPolicy};
///
/// let patient = RetryPolicy { tries_max: 10, total_max: Duration::from_secs(120), ..RetryPolicy::default() };
/// let client = Client::builder("http://127.0.0.1:48008").retry(patient).build()?;
/// # Ok::<(), cov_client::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a request is sent at most. 1 means that nothing is retried; 0 counts as 1.
    pub tries_max: u32,
    /// Longest wait after the first try. It doubles with every further try.
    pub backoff_first: Duration,
    /// Longest wait after any try, unless the server asks for more with `Retry-After`.
    pub backoff_max: Duration,
    /// No wait begins that would end later than this after the first try began.
    pub total_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries_max: 4,
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(3),
            total_max: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// A policy that never sends a request twice.
    ///
    /// ```
    /// assert_eq!(cov_client::RetryPolicy::never().tries_max, 1);
    /// ```
    #[must_use]
    pub fn never() -> Self {
        Self { tries_max: 1, ..Self::default() }
    }

    /// How long to wait after `tries` tries that took `elapsed` together, or `None` to give up.
    ///
    /// `jitter` is a random number from 0 to 1. It spreads the wait over the upper half of the
    /// backoff, so that clients that were cut off together do not return together.
    pub(crate) fn wait(
        &self,
        tries: u32,
        elapsed: Duration,
        retry_after: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        if tries >= self.tries_max.max(1) {
            return None;
        }
        let doublings = 1_u32.checked_shl(tries.saturating_sub(1));
        let ceiling = doublings
            .and_then(|factor| self.backoff_first.checked_mul(factor))
            .map_or(self.backoff_max, |backoff| backoff.min(self.backoff_max));
        let backoff = ceiling.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        let wait = backoff.max(retry_after.unwrap_or_default());
        let fits = elapsed.checked_add(wait).is_some_and(|end| end <= self.total_max);
        fits.then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn policy() -> RetryPolicy {
        RetryPolicy {
            tries_max: 40,
            backoff_first: 100 * MS,
            backoff_max: 1000 * MS,
            total_max: 60_000 * MS,
        }
    }

    #[test]
    fn waits_double_up_to_their_cap() {
        let waits: Vec<_> = [1, 2, 3, 4, 5, 33, 39]
            .into_iter()
            .map(|tries| policy().wait(tries, Duration::ZERO, None, 1.0))
            .collect();
        let expected = [100, 200, 400, 800, 1000, 1000, 1000].map(|ms| Some(ms * MS));
        assert_eq!(waits, expected);
    }

    #[test]
    fn jitter_moves_a_wait_over_the_upper_half_of_its_backoff() {
        assert_eq!(policy().wait(1, Duration::ZERO, None, 0.0), Some(50 * MS));
        assert_eq!(policy().wait(1, Duration::ZERO, None, 0.5), Some(75 * MS));
        assert_eq!(policy().wait(1, Duration::ZERO, None, 7.0), Some(100 * MS));
    }

    #[test]
    fn the_servers_wish_lengthens_a_wait_and_never_shortens_it() {
        let wait = |asked| policy().wait(1, Duration::ZERO, Some(asked), 1.0);
        assert_eq!(wait(2_500 * MS), Some(2_500 * MS));
        assert_eq!(wait(Duration::ZERO), Some(100 * MS));
    }

    #[test]
    fn tries_and_total_time_are_both_bounded() {
        assert_eq!(policy().wait(40, Duration::ZERO, None, 0.0), None);
        assert_eq!(policy().wait(1, 59_901 * MS, None, 1.0), None);
        assert_eq!(policy().wait(1, 59_900 * MS, None, 1.0), Some(100 * MS));
        assert_eq!(policy().wait(1, Duration::ZERO, Some(Duration::MAX), 0.0), None);
        assert_eq!(RetryPolicy::never().wait(1, Duration::ZERO, None, 0.0), None);
        let none = RetryPolicy { tries_max: 0, ..policy() };
        assert_eq!(none.wait(1, Duration::ZERO, None, 0.0), None);
    }
}
