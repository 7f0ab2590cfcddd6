//! How often one caller may come: a bucket for each, filled as time goes by. Holds a bounded
//! number of buckets.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Callers that are told apart at once.
const CALLERS_MAX: usize = 10_000;
/// How much may be saved up: this many seconds, or minutes, of the rate.
const BURST: f64 = 2.0;

/// Buckets by the name of the caller.
#[derive(Debug)]
pub(super) struct Rates {
    /// Requests for a second; 0 is no limit.
    rate: f64,
    most: f64,
    buckets: HashMap<String, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    since: Instant,
}

impl Rates {
    pub(super) fn per_second(number: u32) -> Self {
        let number = f64::from(number);
        Self { rate: number, most: number * BURST, buckets: HashMap::new() }
    }

    pub(super) fn per_minute(number: u32) -> Self {
        let number = f64::from(number);
        Self { rate: number / 60.0, most: number * BURST, buckets: HashMap::new() }
    }

    /// Takes one from the caller's bucket; `false` if it is empty.
    pub(super) fn take(&mut self, caller: &str) -> bool {
        self.look(caller, 1.0)
    }

    /// Whether the caller's bucket has something in it.
    pub(super) fn has(&mut self, caller: &str) -> bool {
        self.look(caller, 0.0)
    }

    fn look(&mut self, caller: &str, taken: f64) -> bool {
        if self.rate == 0.0 {
            return true;
        }
        let now = Instant::now();
        let full = Bucket { left: self.most, since: now };
        let mut bucket = self.buckets.get(caller).copied().unwrap_or(full);
        let gained = now.duration_since(bucket.since).as_secs_f64() * self.rate;
        bucket = Bucket { left: (bucket.left + gained).min(self.most), since: now };
        let enough = bucket.left >= 1.0;
        if enough {
            bucket.left -= taken;
        }
        match self.buckets.get_mut(caller) {
            Some(known) => *known = bucket,
            // One that is full says no more than one that is not there.
            None if taken == 0.0 => {}
            None => {
                self.make_room(now);
                self.buckets.insert(caller.to_owned(), bucket);
            }
        }
        enough
    }

    fn make_room(&mut self, now: Instant) {
        if self.buckets.len() < CALLERS_MAX {
            return;
        }
        let full_again = Duration::from_secs_f64(self.most / self.rate);
        self.buckets.retain(|_, bucket| now.duration_since(bucket.since) < full_again);
        if self.buckets.len() >= CALLERS_MAX {
            self.buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_caller_has_its_own_bucket_and_it_fills_again() {
        let mut rates = Rates::per_second(5);
        assert_eq!((0..20).filter(|_| rates.take("a")).count(), 10);
        assert!(!rates.has("a") && rates.take("b"));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((0..20).filter(|_| rates.take("a")).count(), 5);
        let mut unlimited = Rates::per_second(0);
        assert!((0..1000).all(|_| unlimited.take("a")));
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_do_not_make_it_grow() {
        let mut rates = Rates::per_minute(1);
        for caller in 0..3 * CALLERS_MAX {
            rates.take(&caller.to_string());
        }
        assert!(rates.buckets.len() <= CALLERS_MAX);
    }
}
