//! How large a simulated server is, and how much goes wrong in it.

use super::rng::Rng;

/// Which kind of simulation a seed names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// A few dispatches of up to 60 nodes, checked after every step.
    Small,
    /// One dispatch of 10,000 nodes between small ones, checked every 500 steps.
    Large,
    /// One dispatch of a few nodes that crashes after a given commit.
    Crash,
}

/// What a seed made of its profile.
#[derive(Debug, Clone)]
pub(crate) struct Mood {
    /// Nodes of the dispatches that users register.
    pub(crate) nodes: Vec<usize>,
    pub(crate) executors: usize,
    /// Of each executor.
    pub(crate) slots: usize,
    /// How many times each kind of trouble may still come.
    pub(crate) crashes: usize,
    pub(crate) reloads: usize,
    pub(crate) cancels: usize,
    pub(crate) not_begun: usize,
    pub(crate) lost: usize,
    /// Of 100 attempts, those that an engine outside runs.
    pub(crate) outside: usize,
    /// Of 100 of them, those that are found again after a crash.
    pub(crate) survivors: usize,
    /// Of 100 cancels, those that name no node.
    pub(crate) cancels_all: usize,
    /// Of 1,000 attempts.
    pub(crate) failures: usize,
    /// Of 1,000 time limits, those that pass before the task ends.
    pub(crate) timeouts: usize,
    /// Of 100 messages.
    pub(crate) duplicates: usize,
    /// One in so many nodes is a sublattice.
    pub(crate) nesting: usize,
    pub(crate) fail_on_restart: bool,
    /// How readily each action is taken: messages, grants, work, commits, effects.
    pub(crate) weights: [usize; 5],
    /// About how many steps it will take.
    pub(crate) steps_expected: usize,
    /// The invariants are checked after every so many steps.
    pub(crate) check_every: u64,
    /// The commit after which the server crashes.
    pub(crate) crash_after: Option<u64>,
    /// Whether anything may end as CANCELLED: somebody asks for it, or a task says so.
    pub(crate) may_cancel: bool,
    /// How many crashes there were.
    pub(crate) crashes_seen: u32,
}

impl Mood {
    pub(crate) fn new(profile: Profile, rng: &mut Rng) -> Self {
        let nodes = nodes(profile, rng);
        let total: usize = nodes.iter().sum();
        let is_quiet = profile == Profile::Crash;
        let is_large = profile == Profile::Large;
        let mut mood = Self {
            executors: rng.between(1, 3),
            slots: rng.between(1, if is_large { 64 } else { 8 }),
            crashes: if is_quiet { 0 } else { rng.below(4) },
            reloads: if is_quiet { 0 } else { rng.below(3) },
            cancels: if is_large || is_quiet && rng.chance(50) { 0 } else { rng.below(4) },
            cancels_all: if is_large { 0 } else { 40 },
            not_begun: total / 4 + 1,
            lost: [0, 1, total / 8 + 1][rng.below(3)],
            outside: [0, 50, 100][rng.below(3)],
            survivors: [60, 90, 100][rng.below(3)],
            failures: if is_large { rng.below(2) } else { [0, 20, 100, 300][rng.below(4)] },
            timeouts: if is_large { 1 } else { 300 },
            nesting: if is_large { 1_000 } else { [0, 6, 20][rng.below(3)] },
            duplicates: [0, 5, 30][rng.below(3)],
            fail_on_restart: rng.chance(30),
            weights: std::array::from_fn(|_| rng.between(1, 12)),
            steps_expected: total * 5 + 10,
            check_every: if is_large { 500 } else { 1 },
            crash_after: None,
            may_cancel: true,
            crashes_seen: 0,
            nodes,
        };
        mood.may_cancel = mood.cancels > 0 || mood.failures > 0;
        mood
    }
}

fn nodes(profile: Profile, rng: &mut Rng) -> Vec<usize> {
    match profile {
        Profile::Crash => vec![rng.between(1, 8)],
        Profile::Large => vec![rng.between(1, 20), 10_000, rng.between(1, 20)],
        Profile::Small => {
            let largest = [6, 20, 60][rng.below(3)];
            (0..rng.between(1, 4)).map(|_| rng.between(1, largest)).collect()
        }
    }
}
