//! Which status queries are held, and how long. The SDK asks for the status, sleeps a second and
//! asks again; a query that is answered the moment the dispatch ends saves that second. A user's
//! own question is the same request, so only its repetition is held for long.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cov_core::ids::DispatchId;
use cov_core::status::Status;
use tokio::time::Instant;

/// How long the first query for a dispatch that is under way is held.
const FIRST_HOLD_MAX: Duration = Duration::from_millis(300);
/// How long a repeated query is held.
const WAITER_HOLD_MAX: Duration = Duration::from_secs(30);
/// A query within this time after the last answer for the same dispatch is a repeated one.
const WAITER_GAP_MAX: Duration = Duration::from_secs(2);
/// Most dispatches whose last answer is remembered.
const REMEMBERED_MAX: usize = 4_096;

/// How long a single-id query is held when the dispatch is in `status`, and the last answer to
/// such a query was given `since_last_answer` ago.
fn hold_for(status: Status, since_last_answer: Option<Duration>) -> Duration {
    if status == Status::NewObject || status.is_terminal() {
        return Duration::ZERO;
    }
    match since_last_answer {
        Some(gap) if gap <= WAITER_GAP_MAX => WAITER_HOLD_MAX,
        _ => FIRST_HOLD_MAX,
    }
}

/// When single-id queries were last answered. Bounded: what is forgotten costs a waiting client
/// one short hold.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    answered: Mutex<HashMap<DispatchId, Instant>>,
}

impl Holding {
    /// How long a query for `dispatch` is to be held now.
    pub(super) fn hold_for(&self, dispatch: &DispatchId, status: Status) -> Duration {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let gap = answered.get(dispatch).map(Instant::elapsed);
        hold_for(status, gap)
    }

    /// Notes that a query for `dispatch` is answered now with `status`.
    pub(super) fn note_answer(&self, dispatch: &DispatchId, status: Status) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if status.is_terminal() {
            answered.remove(dispatch);
            return;
        }
        if answered.len() >= REMEMBERED_MAX && !answered.contains_key(dispatch) {
            answered.retain(|_, at| at.elapsed() <= WAITER_GAP_MAX);
        }
        if answered.len() < REMEMBERED_MAX || answered.contains_key(dispatch) {
            answered.insert(dispatch.clone(), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_under_way_is_held_and_long_only_for_those_who_ask_again() {
        let gap = |millis| Some(Duration::from_millis(millis));
        for status in Status::ALL {
            let idle = status == Status::NewObject || status.is_terminal();
            let (first, waiter) = if idle {
                (Duration::ZERO, Duration::ZERO)
            } else {
                (FIRST_HOLD_MAX, WAITER_HOLD_MAX)
            };
            assert_eq!(hold_for(status, None), first, "{status}");
            assert_eq!(hold_for(status, gap(1_000)), waiter, "{status}");
            assert_eq!(hold_for(status, gap(2_000)), waiter, "{status}");
            assert_eq!(hold_for(status, gap(2_001)), first, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_remembered_for_a_while_and_not_without_bound() {
        let holding = Holding::default();
        let id = |number: usize| -> DispatchId { format!("d{number}").parse().unwrap() };
        for number in 0..REMEMBERED_MAX + 10 {
            holding.note_answer(&id(number), Status::Running);
        }
        assert_eq!(holding.answered.lock().unwrap().len(), REMEMBERED_MAX);
        assert_eq!(holding.hold_for(&id(0), Status::Running), WAITER_HOLD_MAX);
        tokio::time::advance(WAITER_GAP_MAX * 2).await;
        assert_eq!(holding.hold_for(&id(0), Status::Running), FIRST_HOLD_MAX);
        holding.note_answer(&id(REMEMBERED_MAX + 1), Status::Running);
        assert_eq!(holding.answered.lock().unwrap().len(), 1);
        holding.note_answer(&id(REMEMBERED_MAX + 1), Status::Completed);
        assert!(holding.answered.lock().unwrap().is_empty());
    }
}
