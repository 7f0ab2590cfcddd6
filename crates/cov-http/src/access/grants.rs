//! Dispatches that callers with tokens have registered a moment ago. The SDK registers a
//! dispatch with a token and its triggers without one; that it names a dispatch of this list, from
//! the same address, is what it shows instead. Holds no more than a bounded number.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cov_core::ids::DispatchId;
use tokio::time::Instant;

/// How long a registration speaks for the triggers that follow it.
const LIFE: Duration = Duration::from_secs(600);
/// How many are remembered.
const GRANTS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Grants {
    found: HashMap<DispatchId, Grant>,
    order: VecDeque<(Instant, DispatchId)>,
}

#[derive(Debug)]
struct Grant {
    since: Instant,
    origin: IpAddr,
    who: Arc<str>,
}

impl Grants {
    pub(super) fn put(&mut self, dispatch: DispatchId, origin: IpAddr, who: Arc<str>) {
        let since = Instant::now();
        self.forget(since);
        self.order.push_back((since, dispatch.clone()));
        self.found.insert(dispatch, Grant { since, origin, who });
    }

    pub(super) fn find(&mut self, dispatch: &DispatchId, origin: IpAddr) -> Option<Arc<str>> {
        self.forget(Instant::now());
        let grant = self.found.get(dispatch).filter(|grant| grant.origin == origin)?;
        Some(Arc::clone(&grant.who))
    }

    fn forget(&mut self, now: Instant) {
        while let Some((since, dispatch)) = self.order.front() {
            let is_old = now.duration_since(*since) >= LIFE;
            if !is_old && self.order.len() < GRANTS_MAX {
                return;
            }
            // It may have been put again since.
            if self.found.get(dispatch).is_some_and(|grant| grant.since == *since) {
                self.found.remove(dispatch);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_grant_is_for_one_address_and_for_a_while() {
        let mut grants = Grants::default();
        let (here, there) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let id: DispatchId = "d-1".parse().unwrap();
        grants.put(id.clone(), here, "ci".into());
        assert_eq!(grants.find(&id, here).as_deref(), Some("ci"));
        assert_eq!(grants.find(&id, there), None);
        assert_eq!(grants.find(&"d-2".parse().unwrap(), here), None);
        tokio::time::advance(LIFE).await;
        assert_eq!(grants.find(&id, here), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_a_bounded_number_is_kept() {
        let mut grants = Grants::default();
        for number in 0..2 * GRANTS_MAX {
            let id = format!("d-{number}").parse().unwrap();
            grants.put(id, [10, 0, 0, 1].into(), "ci".into());
        }
        assert!(grants.found.len() <= GRANTS_MAX && grants.order.len() <= GRANTS_MAX);
    }
}
