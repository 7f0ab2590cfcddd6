//! Simulations of whole servers, each from one seed: random graphs, orders of events, repeated
//! and late reports, cancels, and crashes at which everything in memory is lost, but for what
//! engines outside go on with.
//!
//! A failing seed is printed with the command that replays it. `COV_SIM_SEED=small:17` (also
//! `large:3`, or `crash:5:12` for a crash after the twelfth commit) runs one simulation and
//! shows its last steps; `COV_SIM_SEEDS` says how many small ones there are.

mod chaos;
mod coverage;
mod graphs;
mod ledger;
mod outside;
mod profile;
mod rng;
mod store;
mod trace;
mod world;

use coverage::{Coverage, EFFECTS, EVENTS, OUTCOMES};
use profile::{Mood, Profile};
use rng::Rng;
use trace::Trace;
use world::World;

/// Small simulations, unless `COV_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 1_000;
const LARGE_SEEDS: u64 = 10;
/// Each is run once for every commit it makes.
const CRASH_SEEDS: u64 = 300;

/// One simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    profile: Profile,
    seed: u64,
    crash_after: Option<u64>,
}

/// What a simulation that went well says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Summary {
    hash: u64,
    steps: u64,
    commits: u64,
    crashes: u32,
    /// How many attempts were taken up again after a crash, and how many were lost.
    attached: u32,
    lost: u32,
}

impl Case {
    fn new(profile: Profile, seed: u64) -> Self {
        Self { profile, seed, crash_after: None }
    }

    fn name(self) -> String {
        let seed = self.seed;
        match (self.profile, self.crash_after) {
            (Profile::Small, _) => format!("small:{seed}"),
            (Profile::Large, _) => format!("large:{seed}"),
            (Profile::Crash, None) => format!("crash:{seed}"),
            (Profile::Crash, Some(commit)) => format!("crash:{seed}:{commit}"),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (profile, numbers) = match parts.as_slice() {
            ["small", numbers @ ..] => (Profile::Small, numbers),
            ["large", numbers @ ..] => (Profile::Large, numbers),
            ["crash", numbers @ ..] => (Profile::Crash, numbers),
            numbers => (Profile::Small, numbers),
        };
        let seed = numbers.first()?.parse().ok()?;
        let crash_after = numbers.get(1).map(|commit| commit.parse()).transpose().ok()?;
        Some(Self { profile, seed, crash_after })
    }

    /// Runs it. Panics with its name if a rule is broken.
    fn run(self, wants_lines: bool) -> Summary {
        self.run_through(wants_lines).0
    }

    fn run_through(self, wants_lines: bool) -> (Summary, Coverage) {
        let mut rng = Rng::new(self.seed);
        let mut mood = Mood::new(self.profile, &mut rng);
        mood.crash_after = self.crash_after;
        let mut world = World::new(rng, mood, Trace::new(wants_lines));
        if let Err(broken) = world.run() {
            let (name, trace) = (self.name(), world.trace.text());
            panic!(
                "simulation {name}, step {}: {broken}\n{trace}\
                 replay it with: COV_SIM_SEED={name} cargo nextest run -p cov-engine sim",
                world.steps
            );
        }
        let summary = Summary {
            hash: world.trace.hash,
            steps: world.steps,
            commits: world.store.commits,
            crashes: world.mood.crashes_seen,
            attached: world.sum(|entry| entry.attached),
            lost: world.sum(|entry| entry.lost),
        };
        (summary, world.trace.coverage)
    }
}

/// The one simulation to replay, if there is one. Then the others are left out.
fn replayed() -> Option<Case> {
    let text = std::env::var("COV_SIM_SEED").ok()?;
    Some(Case::parse(&text).unwrap_or_else(|| panic!("COV_SIM_SEED={text} names no simulation")))
}

fn seeds() -> u64 {
    match std::env::var("COV_SIM_SEEDS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("COV_SIM_SEEDS={text} is no number")),
        Err(_) => SEEDS,
    }
}

#[test]
fn small_servers_keep_every_rule() {
    if let Some(case) = replayed() {
        println!("{}: {:?}", case.name(), case.run(true));
        return;
    }
    let mut steps = 0;
    for seed in 0..seeds() {
        let case = Case::new(Profile::Small, seed);
        let summary = case.run(false);
        steps += summary.steps;
        if seed % 20 == 0 {
            assert_eq!(summary, case.run(false), "{} is not the same twice", case.name());
        }
    }
    println!("{} seeds, {steps} steps", seeds());
}

#[test]
fn large_servers_keep_every_rule() {
    if replayed().is_some() {
        return;
    }
    let mut steps = 0;
    for seed in 0..LARGE_SEEDS {
        let summary = Case::new(Profile::Large, seed).run(false);
        println!("large:{seed}: {summary:?}");
        steps += summary.steps;
    }
    assert!(steps > LARGE_SEEDS * 20_000, "most of them end early: {steps} steps");
}

#[test]
fn a_crash_after_any_commit_loses_nothing() {
    if replayed().is_some() {
        return;
    }
    let (mut crashes, mut attached, mut lost) = (0, 0, 0);
    for seed in 0..CRASH_SEEDS {
        let quiet = Case::new(Profile::Crash, seed);
        for commit in 1..=quiet.run(false).commits {
            let summary = Case { crash_after: Some(commit), ..quiet }.run(false);
            assert_eq!(summary.crashes, 1, "{} did not crash", quiet.name());
            crashes += 1;
            attached += summary.attached;
            lost += summary.lost;
        }
    }
    println!("{crashes} crashes, {attached} attempts taken up again, {lost} lost");
    assert!(attached > crashes / 8, "engines outside hardly go on with anything");
}

#[test]
fn other_seeds_tell_other_stories() {
    let hash = |seed| Case::new(Profile::Small, seed).run(false).hash;
    let stories: std::collections::BTreeSet<u64> = (0..50).map(hash).collect();
    assert_eq!(stories.len(), 50);
}

/// Outcomes that the machine does not have for these events, or that no server brings about.
const IMPOSSIBLE: [(&str, &str); 19] = [
    ("start", "stale"),
    ("start", "illegal"),
    ("restarted", "stale"),
    ("restarted", "illegal"),
    ("granted", "duplicate"),
    ("begun", "illegal"),
    ("not begun", "illegal"),
    ("lost", "illegal"),
    ("ended", "illegal"),
    ("time limit", "illegal"),
    ("retry due", "duplicate"),
    ("retry due", "illegal"),
    ("cancel", "stale"),
    ("cancel", "illegal"),
    ("linked", "stale"),
    ("build refused", "duplicate"),
    ("build refused", "illegal"),
    ("child ended", "duplicate"),
    ("child ended", "illegal"),
];

#[test]
fn simulations_see_everything_that_can_be() {
    let mut seen = Coverage::default();
    for seed in 0..SEEDS {
        seen.add(&Case::new(Profile::Small, seed).run_through(false).1);
    }
    println!("{}", seen.table());
    for (event, counts) in EVENTS.iter().zip(&seen.events) {
        for (outcome, count) in OUTCOMES.iter().zip(counts) {
            let is_possible = !IMPOSSIBLE.contains(&(event, outcome));
            assert_eq!(*count > 0, is_possible, "{event} {outcome}: {count} times");
        }
    }
    for (effect, count) in EFFECTS.iter().zip(&seen.effects) {
        assert!(*count > 0, "no simulation asked to {effect}");
    }
}

#[test]
fn names_of_simulations_are_read_back() {
    let crash = Case { profile: Profile::Crash, seed: 5, crash_after: Some(12) };
    for case in [Case::new(Profile::Small, 17), Case::new(Profile::Large, 3), crash] {
        assert_eq!(Case::parse(&case.name()), Some(case));
    }
    assert_eq!(Case::parse("17"), Some(Case::new(Profile::Small, 17)));
    assert_eq!(Case::parse("medium:1"), None);
}
