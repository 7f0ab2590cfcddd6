//! Places for connections: so many in all, and so many for one address. Opens and closes nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hands out places. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    of_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most_of_address: usize,
}

/// A place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _seat: Option<Seat>,
}

#[derive(Debug)]
struct Seat {
    places: Places,
    address: IpAddr,
}

impl Places {
    pub(super) fn new(all: usize, most_of_address: usize) -> Self {
        let all = Arc::new(Semaphore::new(all.min(Semaphore::MAX_PERMITS)));
        Self { all, of_address: Arc::default(), most_of_address }
    }

    /// Waits for a place; `None` at once if the address has all that it may have.
    pub(super) async fn take(&self, address: Option<IpAddr>) -> Option<Place> {
        let seat = match address {
            Some(address) => Some(self.seat(address)?),
            None => None,
        };
        let permit = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place { _permit: permit, _seat: seat })
    }

    fn seat(&self, address: IpAddr) -> Option<Seat> {
        let mut taken = self.taken();
        let number = taken.entry(address).or_insert(0);
        if *number >= self.most_of_address {
            return None;
        }
        *number += 1;
        drop(taken);
        Some(Seat { places: self.clone(), address })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.of_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        let left = taken.get_mut(&self.address).map(|number| {
            *number = number.saturating_sub(1);
            *number
        });
        if left == Some(0) {
            taken.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_has_its_share_and_gives_it_back() {
        let places = Places::new(3, 2);
        let (greedy, other) = (Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
        let first = places.take(greedy).await.unwrap();
        let _second = places.take(greedy).await.unwrap();
        assert!(places.take(greedy).await.is_none());
        let third = places.take(other).await.unwrap();
        let mut late = Box::pin(places.take(None));
        assert!(futures_util::poll!(&mut late).is_pending(), "all are taken");
        drop(third);
        assert!(late.await.is_some());
        drop(first);
        assert!(places.take(greedy).await.is_some());
        assert_eq!(places.taken().len(), 1, "who left is forgotten");
    }
}
