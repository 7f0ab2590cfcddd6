//! Who runs next: fair admission to the slots of one executor. Work is queued under a key (the
//! root dispatch), keys take turns, and within a key the first that came runs first. So one
//! electron behind a fan of ten thousand waits for one other start per waiting key, not for the
//! fan.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Slots of one executor, and who waits for them.
///
/// ```
/// use cov_engine::scheduler::Scheduler;
/// let mut scheduler = Scheduler::new(1);
/// scheduler.enqueue("fan", 1);
/// scheduler.enqueue("fan", 2);
/// scheduler.enqueue("single", 3);
/// assert_eq!(scheduler.grant(), Some(1));
/// assert_eq!(scheduler.grant(), None, "the only slot is taken");
/// scheduler.release();
/// assert_eq!(scheduler.grant(), Some(3), "keys take turns");
/// ```
#[derive(Debug)]
pub struct Scheduler<K, T> {
    slots: usize,
    taken: usize,
    queues: HashMap<K, VecDeque<T>>,
    /// Keys with waiting work, in the order of their turns.
    turns: VecDeque<K>,
    queued: usize,
}

impl<K: Hash + Eq + Clone, T> Scheduler<K, T> {
    /// A scheduler of `slots` free slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { slots, taken: 0, queues: HashMap::new(), turns: VecDeque::new(), queued: 0 }
    }

    /// Puts work at the end of its key's queue.
    pub fn enqueue(&mut self, key: K, work: T) {
        self.queued += 1;
        match self.queues.get_mut(&key) {
            Some(queue) => queue.push_back(work),
            None => {
                self.turns.push_back(key.clone());
                self.queues.insert(key, VecDeque::from([work]));
            }
        }
    }

    /// Takes a free slot for the work whose turn it is. `None` when there is no free slot or
    /// nothing waits.
    pub fn grant(&mut self) -> Option<T> {
        if self.taken >= self.slots {
            return None;
        }
        self.take_turn()
    }

    /// Takes a slot beyond those that there are, up to `room` in all, for the work whose turn it
    /// is, if that `suits`: work that is so short that whoever does it had better have it at hand.
    pub fn grant_ahead(&mut self, room: usize, suits: impl FnOnce(&T) -> bool) -> Option<T> {
        if self.taken >= room {
            return None;
        }
        let next = self.queues.get(self.turns.front()?)?.front()?;
        if suits(next) { self.take_turn() } else { None }
    }

    fn take_turn(&mut self) -> Option<T> {
        let key = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&key)?;
        let work = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        self.taken += usize::from(work.is_some());
        self.queued -= usize::from(work.is_some());
        work
    }

    /// Takes a slot without a turn, also beyond those that there are: for work that goes on from
    /// an earlier life of the server.
    pub fn take(&mut self) {
        self.taken += 1;
    }

    /// Gives a slot back.
    pub fn release(&mut self) {
        self.taken = self.taken.saturating_sub(1);
    }

    /// How many slots there are from now on. Taken ones beyond that run out.
    pub fn resize(&mut self, slots: usize) {
        self.slots = slots;
    }

    /// How many pieces of work wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// How many slots are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_electron_behind_a_fan_starts_within_twice_the_slots() {
        for slots in [1, 2, 8] {
            let mut scheduler = Scheduler::new(slots);
            (0..10_000).for_each(|n| scheduler.enqueue("fan", n));
            (0..slots).for_each(|_| assert!(scheduler.grant().is_some()));
            scheduler.enqueue("single", 99_999);
            let mut starts = 0;
            loop {
                scheduler.release();
                starts += 1;
                if scheduler.grant() == Some(99_999) {
                    break;
                }
            }
            assert!(starts <= 2 * slots, "{starts} starts with {slots} slots");
        }
    }

    #[test]
    fn keys_take_turns_and_keep_their_order() {
        let mut scheduler = Scheduler::new(100);
        for (key, work) in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("b", 5), ("c", 6)] {
            scheduler.enqueue(key, work);
        }
        let order: Vec<i32> = std::iter::from_fn(|| scheduler.grant()).collect();
        assert_eq!(order, [1, 4, 6, 2, 5, 3]);
        assert_eq!((scheduler.queued(), scheduler.taken()), (0, 6));
    }

    #[test]
    fn work_goes_ahead_when_it_suits_and_in_turn() {
        let mut scheduler = Scheduler::new(1);
        for (key, work) in [("a", 1), ("a", 3), ("b", 2), ("a", 5)] {
            scheduler.enqueue(key, work);
        }
        assert_eq!(scheduler.grant(), Some(1));
        assert_eq!(scheduler.grant_ahead(3, |work| *work == 3), None, "it is the turn of `b`");
        assert_eq!(scheduler.grant_ahead(3, |work| *work == 2), Some(2));
        assert_eq!(scheduler.grant_ahead(3, |_| true), Some(3));
        assert_eq!(scheduler.grant_ahead(3, |_| true), None, "there is room for three");
        assert_eq!((scheduler.grant(), scheduler.taken(), scheduler.queued()), (None, 3, 1));
    }

    #[test]
    fn slots_are_never_exceeded() {
        let mut scheduler = Scheduler::new(2);
        (0..5).for_each(|n| scheduler.enqueue((), n));
        assert!(scheduler.grant().is_some() && scheduler.grant().is_some());
        assert_eq!(scheduler.grant(), None);
        scheduler.release();
        assert_eq!(scheduler.grant(), Some(2));
        scheduler.resize(0);
        scheduler.release();
        assert_eq!(scheduler.grant(), None);
    }

    #[test]
    fn what_goes_on_from_before_has_its_slot_though_none_is_free() {
        let mut scheduler = Scheduler::new(2);
        (0..3).for_each(|_| scheduler.take());
        (0..2).for_each(|n| scheduler.enqueue((), n));
        assert_eq!((scheduler.grant(), scheduler.taken()), (None, 3));
        scheduler.release();
        assert_eq!(scheduler.grant(), None, "both slots are still taken");
        scheduler.release();
        assert_eq!((scheduler.grant(), scheduler.grant()), (Some(0), None));
    }
}
