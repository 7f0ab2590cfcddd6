//! What the scheduler promises, for any order of calls: never more than its slots, no work lost
//! or done twice, every free slot used, and turns for everybody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cov_core::ids::{AttemptId, NodeId};
use cov_core::time::Timestamp;
use cov_engine::dispatch::Dispatch;
use cov_engine::effect::Effect;
use cov_engine::event::{Event, Outcome};
use cov_engine::machine::apply;
use cov_engine::scheduler::Scheduler;
use proptest::prelude::*;

use crate::harness::Bench;

/// A call of the scheduler.
#[derive(Debug, Clone)]
enum Call {
    Enqueue(u8),
    Grant,
    Take,
    Release,
    Resize(usize),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = prop_oneof![
        4 => (0_u8..6).prop_map(Call::Enqueue),
        4 => Just(Call::Grant),
        1 => Just(Call::Take),
        4 => Just(Call::Release),
        1 => (0_usize..6).prop_map(Call::Resize),
    ];
    prop::collection::vec(call, 0..200)
}

/// The scheduler beside what it should hold.
struct Model {
    scheduler: Scheduler<u8, (u8, u32)>,
    slots: usize,
    running: usize,
    queues: BTreeMap<u8, VecDeque<u32>>,
    enqueued: u32,
    granted: BTreeSet<u32>,
}

impl Model {
    fn new(slots: usize) -> Self {
        Self {
            scheduler: Scheduler::new(slots),
            slots,
            running: 0,
            queues: BTreeMap::new(),
            enqueued: 0,
            granted: BTreeSet::new(),
        }
    }

    fn call(&mut self, call: &Call) {
        match call {
            Call::Enqueue(key) => {
                self.enqueued += 1;
                self.scheduler.enqueue(*key, (*key, self.enqueued));
                self.queues.entry(*key).or_default().push_back(self.enqueued);
            }
            Call::Grant => self.grant(),
            Call::Take => {
                self.running += 1;
                self.scheduler.take();
            }
            Call::Release if self.running > 0 => {
                self.running -= 1;
                self.scheduler.release();
            }
            Call::Release => {}
            Call::Resize(slots) => {
                self.slots = *slots;
                self.scheduler.resize(*slots);
            }
        }
        let waiting: usize = self.queues.values().map(VecDeque::len).sum();
        assert_eq!(self.scheduler.queued(), waiting);
        assert_eq!(self.scheduler.taken(), self.running);
    }

    fn grant(&mut self) {
        let waiting: usize = self.queues.values().map(VecDeque::len).sum();
        let may_grant = self.running < self.slots && waiting > 0;
        let Some((key, work)) = self.scheduler.grant() else {
            assert!(!may_grant, "a free slot and waiting work, and no grant");
            return;
        };
        assert!(may_grant, "{} run in {} slots, and a grant", self.running, self.slots);
        let first = self.queues.get_mut(&key).and_then(VecDeque::pop_front);
        assert_eq!(first, Some(work), "the first of a key runs first");
        assert!(self.granted.insert(work), "{work} was granted twice");
        self.running += 1;
    }
}

proptest! {
    #[test]
    fn slots_are_kept_and_no_work_is_lost_or_doubled(slots in 0_usize..5, calls in calls()) {
        let mut model = Model::new(slots);
        calls.iter().for_each(|call| model.call(call));
        model.call(&Call::Resize(1));
        while model.running > 0 {
            model.call(&Call::Release);
        }
        while model.scheduler.queued() > 0 {
            model.call(&Call::Grant);
            model.call(&Call::Release);
        }
        prop_assert_eq!(model.granted.len(), model.enqueued as usize);
    }

    /// The others get new work all the time, and may have had any number of turns before.
    #[test]
    fn a_fresh_key_waits_for_one_grant_of_every_waiting_key(
        others in prop::collection::vec(1_usize..30, 0..12),
        grants_before in 0_usize..40,
        new_work in prop::collection::vec(0_usize..12, 0..40),
    ) {
        let mut scheduler = Scheduler::new(usize::MAX);
        for (key, count) in others.iter().enumerate() {
            (0..*count).for_each(|_| scheduler.enqueue(key, key));
        }
        let mut waiting: BTreeMap<usize, usize> = others.into_iter().enumerate().collect();
        for _ in 0..grants_before {
            let Some(key) = scheduler.grant() else { break };
            *waiting.entry(key).or_default() -= 1;
        }
        let waiting = waiting.values().filter(|count| **count > 0).count();
        let fresh = usize::MAX;
        scheduler.enqueue(fresh, fresh);
        let mut new_work = new_work.into_iter();
        let mut grants = 0;
        loop {
            new_work.by_ref().take(3).for_each(|key| scheduler.enqueue(key, key));
            grants += 1;
            if scheduler.grant() == Some(fresh) {
                break;
            }
            prop_assert!(grants <= waiting, "{grants} grants with {waiting} waiting keys");
        }
    }

    #[test]
    fn between_two_grants_of_a_key_every_waiting_key_has_one(
        counts in prop::collection::vec(1_usize..12, 2..8),
    ) {
        let mut scheduler = Scheduler::new(usize::MAX);
        for (key, count) in counts.iter().enumerate() {
            (0..*count).for_each(|_| scheduler.enqueue(key, key));
        }
        let order: Vec<usize> = std::iter::from_fn(|| scheduler.grant()).collect();
        for (key, count) in counts.iter().enumerate() {
            let turns: Vec<usize> =
                order.iter().enumerate().filter(|(_, k)| **k == key).map(|(at, _)| at).collect();
            for (turn, pair) in turns.windows(2).enumerate() {
                let between: BTreeSet<usize> = order[pair[0] + 1..pair[1]].iter().copied().collect();
                let waiting = counts.iter().filter(|others| **others > turn + 1).count() - 1;
                prop_assert!(between.len() >= waiting, "key {key} of {count}: {order:?}");
            }
        }
    }
}

/// Two dispatches and one scheduler.
struct Server {
    dispatches: [Dispatch; 2],
    scheduler: Scheduler<usize, (usize, NodeId)>,
    attempts: u32,
}

impl Server {
    fn apply(&mut self, key: usize, event: Event) {
        let now = Timestamp::from_micros(0);
        let step = apply(&mut self.dispatches[key], event, now).unwrap();
        for effect in step.effects {
            if let Effect::Enqueue { node, .. } = effect {
                self.scheduler.enqueue(key, (key, node));
            }
        }
    }

    fn grant(&mut self) -> Option<(usize, NodeId, AttemptId)> {
        let (key, node) = self.scheduler.grant()?;
        self.attempts += 1;
        let attempt = AttemptId::new(1, self.attempts);
        self.apply(key, Event::Granted { node, attempt });
        Some((key, node, attempt))
    }
}

/// How many tasks start from the start of a single electron to its own, when a fan has all slots.
fn starts_until_the_single_one(slots: usize) -> usize {
    let (fan, single) = (0, 1);
    let dispatches = [Bench::tasks(10_000, &[]).dispatch, Bench::tasks(1, &[]).dispatch];
    let mut server = Server { dispatches, scheduler: Scheduler::new(slots), attempts: 0 };
    server.apply(fan, Event::Start);
    let mut running: VecDeque<_> = std::iter::from_fn(|| server.grant()).collect();
    server.apply(single, Event::Start);
    let mut starts = 0;
    loop {
        let (key, node, attempt) = running.pop_front().unwrap();
        server.apply(key, Event::Ended { node, attempt, outcome: Outcome::Completed });
        server.scheduler.release();
        let granted = server.grant().unwrap();
        starts += 1;
        if granted.0 == single {
            return starts;
        }
        running.push_back(granted);
    }
}

#[test]
fn a_single_electron_behind_a_fan_of_ten_thousand_starts_soon() {
    for slots in [1, 2, 8, 64] {
        let starts = starts_until_the_single_one(slots);
        assert!(starts <= 2 * slots, "{starts} starts with {slots} slots");
    }
}
