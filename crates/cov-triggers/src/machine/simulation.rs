//! Random lives of one machine: events, answers in any delay, failures, pauses, stops, clocks
//! that are set back, and crashes that lose everything that was not durable. After every step,
//! and at the end, what must hold is looked at. A failure prints its seed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use cov_core::ids::DispatchId;
use cov_core::time::Timestamp;
use cov_core::trigger::{Firing, Outcome};

use super::{Beginning, Effect, Input, Machine, Origin, Settings};
use crate::host::{Claim, Situation};
use crate::policies::{CatchUp, Debounce, Overlap, Policies};
use crate::trigger::Schedule;
use crate::{Error, Event};

const SEEDS: u64 = 3_000;
const STEPS: usize = 150;

#[derive(Debug)]
struct Every(i64);

impl Schedule for Every {
    fn next(&self, _created_at: Timestamp, after: Timestamp) -> Option<Timestamp> {
        Some(Timestamp::from_micros((after.as_micros().div_euclid(self.0) + 1) * self.0))
    }
}

/// What survives a crash.
#[derive(Default)]
struct Durable {
    rows: BTreeMap<String, Firing>,
    decided_until: i64,
    fired: Vec<String>,
    /// Files that the observer knows to be reported.
    marks: HashSet<String>,
    is_paused: bool,
    is_stopped: bool,
}

impl Durable {
    fn keep(&mut self, claim: Claim) {
        for (name, _) in claim.marks {
            self.marks.insert(name);
        }
        self.decided_until = claim.decided_until.as_micros();
        let row = self.rows.get(&claim.firing.event_key);
        let is_final = row.is_some_and(|row| is_final(row.outcome));
        if !is_final {
            self.rows.insert(claim.firing.event_key.clone(), claim.firing);
        }
    }
}

fn is_final(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Fired | Outcome::Skipped)
}

struct World {
    random: fastrand::Rng,
    settings: Settings,
    now: i64,
    machine: Machine,
    durable: Durable,
    open: Vec<Effect>,
    running: Vec<DispatchId>,
    original_pending: bool,
    original_running: bool,
    /// Everything that an observer could see, by order; an event exists before it is reported.
    files: Vec<String>,
    reported: HashSet<String>,
    called: Vec<String>,
    answered: HashSet<String>,
    dispatches: u32,
    at_rest_seen: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let settings = random_settings(&mut random);
        let machine = Machine::new(
            settings.clone(),
            Timestamp::from_micros(0),
            Beginning::default(),
            Timestamp::from_micros(0),
        );
        let original_pending = random.bool();
        Self {
            settings,
            now: 0,
            machine,
            durable: Durable::default(),
            open: Vec::new(),
            running: Vec::new(),
            original_pending,
            original_running: false,
            files: Vec::new(),
            reported: HashSet::new(),
            called: Vec::new(),
            answered: HashSet::new(),
            dispatches: 0,
            at_rest_seen: false,
            random,
        }
    }

    fn tell(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.machine.apply(input, Timestamp::from_micros(self.now), &mut effects);
        for effect in effects {
            match effect {
                Effect::Settled(firing) => {
                    let row = self.durable.rows.get(&firing.event_key);
                    let row = row.expect("settled before it was durable");
                    assert!(row.outcome == firing.outcome || is_final(row.outcome));
                    self.answered.insert(firing.event_key);
                }
                Effect::Refused(key, _) => {
                    self.called.retain(|called| *called != key);
                }
                Effect::Cancel(dispatches) => {
                    assert_eq!(self.settings.policies.overlap, Overlap::CancelRunning);
                    self.running.retain(|running| !dispatches.contains(running));
                    self.original_running &= !dispatches.contains(&self.settings.original);
                }
                other => self.open.push(other),
            }
        }
        self.check();
    }

    fn check(&mut self) {
        let questions = self.open.iter().filter(|effect| !matches!(effect, Effect::Await(_)));
        assert!(questions.count() <= 1, "one question at a time: {:?}", self.open);
        let keys: HashSet<&String> = self.durable.fired.iter().collect();
        assert_eq!(keys.len(), self.durable.fired.len(), "a key fired twice");
        if let Some(deadline) = self.machine.deadline() {
            assert!(deadline.as_micros() > self.now, "a deadline that has passed");
        }
        if self.machine.is_at_rest() {
            self.at_rest_seen = true;
        }
    }

    fn step(&mut self) {
        match self.random.u32(0..100) {
            0..30 => self.answer(false),
            30..55 => self.pass(),
            55..75 => self.happen(),
            75..82 => self.end_one(),
            82..86 => self.answer(true),
            86..89 => self.pause_or_resume(),
            89..92 => self.crash(),
            92..94 => {
                self.now -= self.random.i64(0..30_000_000).min(self.now);
                self.tell(Input::ClockSetBack);
            }
            94 if self.random.u8(0..10) == 0 && !self.durable.is_stopped => {
                self.durable.is_stopped = true;
                self.tell(Input::Stop);
            }
            _ => self.look_at_files(),
        }
    }

    fn pass(&mut self) {
        let jump = self.random.i64(1..6_000_000);
        let target = match self.machine.deadline() {
            Some(deadline) if self.random.bool() => deadline.as_micros(),
            Some(_) | None => self.now + jump,
        };
        self.now = self.now.max(target);
        self.tell(Input::Wake);
    }

    fn happen(&mut self) {
        let number = self.files.len() + self.called.len();
        if self.random.u8(0..4) == 0 {
            let (key, origin) = if self.random.bool() {
                (format!("hand:{number}"), Origin::ByHand)
            } else {
                (format!("call:{number}"), Origin::Called)
            };
            self.called.push(key.clone());
            self.report(key, origin);
        } else if self.settings.observed {
            self.files.push(format!("file:{number}"));
            self.look_at_files();
        }
    }

    /// The observer reports what it has not reported yet, unless nobody observes.
    fn look_at_files(&mut self) {
        if self.durable.is_paused || self.durable.is_stopped || !self.settings.observed {
            return;
        }
        for file in self.files.clone() {
            if self.reported.insert(file.clone()) {
                self.report(file, Origin::Observed);
            }
        }
        self.tell(Input::CaughtUp);
    }

    fn report(&mut self, key: String, origin: Origin) {
        let marks = match origin {
            Origin::Observed => vec![(key.clone(), None)],
            Origin::Tick | Origin::Called | Origin::ByHand => Vec::new(),
        };
        let event = Event {
            key,
            at: Timestamp::from_micros(self.now),
            detail: String::new(),
            marks,
            payload: None,
        };
        self.tell(Input::Happened(event, origin));
    }

    /// The host answers one open question, perhaps with a failure.
    fn answer(&mut self, fails: bool) {
        if self.open.is_empty() {
            return;
        }
        let index = self.random.usize(0..self.open.len());
        if let Effect::Await(dispatch) = &self.open[index]
            && self.is_running(dispatch)
            && !fails
        {
            return;
        }
        let down = || Error::Unavailable("down".to_owned());
        match self.open.swap_remove(index) {
            Effect::Look if fails => self.tell(Input::Looked(Err(down()))),
            Effect::Look => {
                let situation = Situation {
                    original_pending: self.original_pending,
                    original_running: self.original_running,
                    running: self.running.clone(),
                };
                self.tell(Input::Looked(Ok(situation)));
            }
            Effect::Fire(_) if fails => self.tell(Input::Fired(Err(down()))),
            Effect::Fire(claim) => {
                let fired = self.fire(*claim);
                self.tell(Input::Fired(fired));
            }
            Effect::Decide(_) if fails => self.tell(Input::Decided(Err(down()))),
            Effect::Decide(claims) => {
                claims.into_iter().for_each(|claim| self.durable.keep(claim));
                self.tell(Input::Decided(Ok(())));
            }
            Effect::SetMarks(_) if fails => self.tell(Input::MarksSet(Err(down()))),
            Effect::SetMarks(_) => self.tell(Input::MarksSet(Ok(()))),
            Effect::Await(_) if fails => self.tell(Input::Ended(Err(down()))),
            Effect::Await(_) => self.tell(Input::Ended(Ok(()))),
            Effect::Cancel(_) | Effect::Settled(_) | Effect::Refused(..) => {}
        }
    }

    /// The host makes a firing durable, or only seems to have failed.
    fn fire(&mut self, claim: Claim) -> Result<DispatchId, Error> {
        assert!(!self.at_rest_seen, "fired after the stop");
        let key = claim.firing.event_key.clone();
        match self.durable.rows.get(&key).map(|row| row.outcome) {
            Some(Outcome::Fired) => return Ok("of-then".parse().unwrap()),
            Some(Outcome::Skipped) => return Err(Error::Refused("skipped before".to_owned())),
            Some(Outcome::Queued | Outcome::Failed) | None => {}
        }
        let by_hand = claim.firing.event_key.starts_with("hand:");
        assert!(!self.original_running || self.original_pending, "the original was under way");
        let overlap = self.settings.policies.overlap;
        if overlap != Overlap::Allow && !by_hand {
            assert!(self.running.is_empty(), "{overlap:?} fired beside {:?}", self.running);
        }
        self.durable.keep(claim);
        self.durable.fired.push(key);
        self.dispatches += 1;
        if self.original_pending {
            (self.original_pending, self.original_running) = (false, true);
        } else {
            self.running.push(format!("r-{}", self.dispatches).parse().unwrap());
        }
        // The answer is lost now and then: the key must protect what is asked for again.
        if self.random.u8(0..20) == 0 {
            return Err(Error::Unavailable("the answer was lost".to_owned()));
        }
        Ok("r".parse().unwrap())
    }

    fn is_running(&self, dispatch: &DispatchId) -> bool {
        (self.original_running && *dispatch == self.settings.original)
            || self.running.contains(dispatch)
    }

    fn end_one(&mut self) {
        if self.original_running && self.random.bool() {
            self.original_running = false;
        } else if !self.running.is_empty() {
            let index = self.random.usize(0..self.running.len());
            self.running.swap_remove(index);
        }
    }

    fn pause_or_resume(&mut self) {
        if self.durable.is_stopped {
            return;
        }
        self.durable.is_paused = !self.durable.is_paused;
        if self.durable.is_paused {
            return self.tell(Input::Pause);
        }
        self.tell(Input::Resume);
        self.begin_observing();
    }

    /// The server dies, and comes back after a while.
    fn crash(&mut self) {
        if self.durable.is_stopped {
            return;
        }
        self.open.clear();
        self.now += self.random.i64(0..20_000_000);
        let waits = |row: &&Firing| match row.outcome {
            Outcome::Queued => true,
            Outcome::Failed => row.next_try.is_some(),
            Outcome::Fired | Outcome::Skipped => false,
        };
        let waiting = self.durable.rows.values().filter(waits).cloned().collect();
        // A call that was not answered is its caller's to repeat.
        let (rows, answered) = (&self.durable.rows, &self.answered);
        self.called.retain(|key| rows.contains_key(key) || answered.contains(key));
        let beginning = Beginning {
            waiting,
            is_paused: self.durable.is_paused,
            resumes: self.settings.observed,
        };
        self.machine = Machine::new(
            self.settings.clone(),
            Timestamp::from_micros(self.durable.decided_until),
            beginning,
            Timestamp::from_micros(self.now),
        );
        self.reported = self.durable.marks.clone();
        self.tell(Input::Wake);
        self.begin_observing();
    }

    fn begin_observing(&mut self) {
        let undecided = self.machine.undecided_marks();
        self.reported = self.durable.marks.clone();
        self.reported.extend(undecided.into_iter().map(|(name, _)| name));
        if !self.machine.looks_back() {
            self.reported.extend(self.files.iter().cloned());
        }
        self.look_at_files();
    }

    /// Lets everything come to an end without any more trouble.
    fn settle(&mut self) {
        self.tell(Input::Wake);
        if self.durable.is_paused && !self.durable.is_stopped {
            self.pause_or_resume();
        }
        let steps = if self.settings.schedule.is_some() { 400 } else { 20_000 };
        for _ in 0..steps {
            (self.original_running, self.running) = (false, Vec::new());
            if self.open.is_empty() {
                let ticks = self.settings.schedule.is_some();
                match self.machine.deadline() {
                    Some(deadline) if !(ticks && deadline.as_micros() > self.now + 400_000_000) => {
                        self.now = deadline.as_micros();
                        self.tell(Input::Wake);
                    }
                    Some(_) | None => break,
                }
                if ticks && self.is_idle() {
                    break;
                }
            } else {
                self.answer(false);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.open.is_empty()
            && self.durable.rows.values().all(|row| is_final(row.outcome) || row.next_try.is_none())
            && self.machine.is_empty()
    }

    fn check_the_end(&self) {
        for row in self.durable.rows.values() {
            let parked = row.outcome == Outcome::Failed && row.next_try.is_none();
            // The last of an incomplete batch waits for the rest.
            let waits = self.durable.is_stopped || self.machine.knows(&row.event_key);
            assert!(is_final(row.outcome) || parked || waits, "left undecided: {row:?}");
        }
        if self.durable.is_stopped {
            assert!(self.machine.is_at_rest());
            return;
        }
        for key in &self.called {
            assert!(self.durable.rows.contains_key(key), "a call without a row: {key}");
        }
        if self.settings.observed && self.machine.looks_back() {
            let missing = self.files.iter().filter(|file| !self.durable.marks.contains(*file));
            let missing: Vec<&String> = missing.collect();
            let waits = self.machine.undecided_marks();
            let waits = |file: &&&String| waits.iter().any(|(name, _)| name == **file);
            assert!(missing.iter().all(|file| waits(&file)), "lost: {missing:?}");
        }
    }
}

fn random_settings(random: &mut fastrand::Rng) -> Settings {
    let overlaps = [
        Overlap::Allow,
        Overlap::Skip,
        Overlap::QueueOne,
        Overlap::QueueAll,
        Overlap::CancelRunning,
    ];
    let catch_ups = [None, Some(CatchUp::None), Some(CatchUp::Last), Some(CatchUp::All)];
    let ticks = random.bool();
    let seconds = |random: &mut fastrand::Rng| Duration::from_secs(random.u64(1..8));
    let quiet = seconds(random);
    let debounce = Debounce { quiet, max_wait: quiet * 3 };
    let policies = Policies {
        overlap: overlaps[random.usize(0..overlaps.len())],
        catch_up: catch_ups[random.usize(0..catch_ups.len())],
        jitter: if random.bool() { Duration::ZERO } else { seconds(random) },
        debounce: (random.u8(0..3) == 0).then_some(debounce),
        batch_timeout: random.bool().then(|| seconds(random)),
    };
    Settings {
        id: "t".parse().unwrap(),
        original: "original".parse().unwrap(),
        created_at: Timestamp::from_micros(0),
        schedule: ticks.then(|| Arc::new(Every(2_000_000)) as Arc<dyn Schedule>),
        policies: Arc::new(policies),
        repeats: ticks,
        events_per_firing: random.u32(1..4),
        observed: !ticks,
    }
}

#[test]
fn random_lives_keep_every_promise() {
    let chosen = std::env::var("COV_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = chosen.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let lived = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
            }
            world.settle();
            world.check_the_end();
        });
        assert!(lived.is_ok(), "again with COV_SEED={seed}");
    }
}
