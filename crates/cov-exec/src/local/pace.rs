//! How quick the tasks of a pool have been, and how many a runner is therefore handed ahead of the
//! one that it is at. A runner with nothing ahead idles from the end of a task until the server has
//! heard of it and answered: much, beside a task of a tenth of a millisecond. But a task that waits
//! behind a long one waits where no other runner sees it, so only what ends soon is waited for.

use std::time::Duration;

/// How much work a runner has ahead of it. Long beside the time that the server takes to answer,
/// short beside what anybody notices.
const AHEAD: Duration = Duration::from_millis(2);

/// No runner is handed more than this ahead, so that dispatches keep taking turns.
pub(super) const AHEAD_MAX: usize = 16;

/// When a runner has been at its task for this long, what it was handed ahead goes to others.
pub(super) const PATIENCE: Duration = Duration::from_millis(5);

/// What a task that took longer counts as, so that a long one is outweighed after a while.
const LONG: Duration = Duration::from_millis(10);

/// Of this many tasks, the latest counts as one.
const WEIGHT: u32 = 8;

/// How long tasks took, on average, the latest ones most.
#[derive(Debug, Default)]
pub(super) struct Pace {
    average: Option<Duration>,
}

impl Pace {
    /// Notes how long a runner was at a task.
    pub(super) fn note(&mut self, took: Duration) {
        let took = took.min(LONG);
        self.average = Some(match self.average {
            Some(average) => (average * (WEIGHT - 1) + took) / WEIGHT,
            None => took,
        });
    }

    /// Notes that a task turned out to be long while others waited behind it.
    pub(super) fn stumble(&mut self) {
        self.average = Some(LONG);
    }

    /// How many tasks a runner may be handed ahead; none until something is known.
    pub(super) fn ahead(&self) -> usize {
        let Some(average) = self.average else { return 0 };
        let many = AHEAD.as_nanos() / average.as_nanos().max(1);
        usize::try_from(many).unwrap_or(AHEAD_MAX).min(AHEAD_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(tasks: impl IntoIterator<Item = u64>) -> Pace {
        let mut pace = Pace::default();
        tasks.into_iter().for_each(|micros| pace.note(Duration::from_micros(micros)));
        pace
    }

    #[test]
    fn nothing_goes_ahead_before_something_is_known_or_when_tasks_are_long() {
        assert_eq!(Pace::default().ahead(), 0);
        assert_eq!(after([2_001; 20]).ahead(), 0);
        assert_eq!(after([3_600_000_000]).ahead(), 0);
    }

    #[test]
    fn the_quicker_the_more_up_to_a_limit() {
        assert_eq!(after([1_000; 20]).ahead(), 2);
        assert_eq!(after([200; 20]).ahead(), 10);
        assert_eq!(after([1; 20]).ahead(), AHEAD_MAX);
        assert_eq!(after([0]).ahead(), AHEAD_MAX);
    }

    #[test]
    fn a_long_task_ends_it_and_quick_ones_bring_it_back() {
        let mut pace = after([100; 100]);
        pace.stumble();
        assert_eq!(pace.ahead(), 0);
        (0..8).for_each(|_| pace.note(Duration::from_micros(100)));
        assert_eq!(pace.ahead(), 0, "not at once");
        (0..32).for_each(|_| pace.note(Duration::from_micros(100)));
        assert!(pace.ahead() > 4);
    }
}
