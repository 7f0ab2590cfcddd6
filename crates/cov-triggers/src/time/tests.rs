//! The grid of a time trigger.

use std::time::Duration;

use cov_core::time::Timestamp;
use proptest::prelude::*;

use super::Grid;
use crate::trigger::Schedule as _;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

#[test]
fn ticks_lie_on_the_grid_of_the_registration() {
    let grid = Grid { gap: Duration::from_micros(10) };
    for (after, expected) in [(100, 110), (109, 110), (110, 120), (111, 120), (95, 100), (89, 90)] {
        assert_eq!(grid.next(at(100), at(after)), Some(at(expected)), "after {after}");
    }
    let missed = grid.missed(at(100), at(110), at(145));
    assert_eq!((missed.count, missed.exact, missed.last), (3, true, Some(at(140))));
    assert_eq!(grid.missed(at(100), at(110), at(119)).count, 0);
}

#[test]
fn the_end_of_time_is_no_panic() {
    let grid = Grid { gap: Duration::MAX };
    assert_eq!(grid.next(at(0), at(i64::MAX)), None);
    assert_eq!(grid.next(at(i64::MAX), at(i64::MIN)), Some(at(i64::MAX)));
}

proptest! {
    #[test]
    fn no_tick_drifts_and_none_is_left_out(
        gap in 1_000_u64..10_000_000, created in 0_i64..1_000_000_000, ahead in 0_i64..1_000_000_000,
    ) {
        let grid = Grid { gap: Duration::from_micros(gap) };
        let after = created + ahead;
        let next = grid.next(at(created), at(after)).unwrap().as_micros();
        let gap = i64::try_from(gap).unwrap();
        prop_assert_eq!((next - created) % gap, 0);
        prop_assert!(next > after && next - after <= gap);
    }
}
