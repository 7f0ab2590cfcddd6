//! How far to read ahead: contents that came together are mostly wanted together, in the same
//! order. Decides only; reads nothing.

/// Most rows of one read.
const ROWS_MAX: i64 = 64;

/// So far from where the last read ended, a read still goes on with it: several are under way at
/// once.
const NEAR: i64 = ROWS_MAX;

/// Where the last read of contents ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReadAhead {
    next: i64,
    rows: i64,
}

/// How many rows to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guess {
    /// From a row within these numbers on.
    pub(super) low: i64,
    pub(super) high: i64,
    /// So many; from any other row on, only that one.
    pub(super) rows: i64,
}

impl ReadAhead {
    /// What to read, before it is known where that is.
    pub(super) fn guess(self) -> Guess {
        let rows = (self.rows * 2).clamp(1, ROWS_MAX);
        Guess { low: self.next - NEAR, high: self.next + NEAR, rows }
    }

    /// Notes that the row `number` was asked for, after `guess`.
    pub(super) fn note(&mut self, guess: Guess, number: i64) {
        *self = match (guess.low..=guess.high).contains(&number) {
            true => Self { next: self.next.max(number + guess.rows), rows: guess.rows },
            false => Self { next: number + 1, rows: 1 },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many reads it takes until all these rows were read, one after the other.
    fn reads(wanted: impl IntoIterator<Item = i64>) -> usize {
        let (mut ahead, mut read, mut reads) = (ReadAhead::default(), Vec::new(), 0);
        for number in wanted {
            if read.contains(&number) {
                continue;
            }
            let guess = ahead.guess();
            let rows = if (guess.low..=guess.high).contains(&number) { guess.rows } else { 1 };
            ahead.note(guess, number);
            read.extend(number..number + rows);
            reads += 1;
        }
        reads
    }

    #[test]
    fn what_is_wanted_in_order_is_read_together() {
        assert!(reads(1_000..11_000) < 170);
    }

    #[test]
    fn what_is_wanted_here_and_there_is_read_alone() {
        let scattered: Vec<i64> = (0..500).map(|n| 1_000 + n * 7_919 % 1_000_003).collect();
        let mut ahead = ReadAhead::default();
        for number in scattered {
            ahead.note(ahead.guess(), number);
            assert!(ahead.guess().rows <= 2);
        }
    }

    #[test]
    fn several_readers_of_one_row_of_contents_do_not_disturb_it() {
        let mut ahead = ReadAhead::default();
        for number in 1_000..1_200_i64 {
            // Of three that began together, the last is known first.
            let guess = ahead.guess();
            [2, 0, 1].into_iter().for_each(|behind| ahead.note(guess, number * 3 + behind));
        }
        assert_eq!(ahead.guess().rows, ROWS_MAX);
    }
}
