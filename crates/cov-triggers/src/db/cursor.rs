//! Where an edge trigger stands in its column, and which rows are new. Pure: asks no database.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A value of the column, in the form that its dialect reads and gives back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Value {
    /// A whole number of SQLite.
    Integer(i64),
    /// A number of SQLite; kept as its bits, so that it comes back as it was.
    Real(u64),
    /// A text; for the other databases everything is one.
    Text(String),
    /// Bytes of SQLite.
    Blob(Vec<u8>),
}

impl Value {
    /// The value for people and for event keys.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Real(bits) => f64::from_bits(*bits).to_string(),
            Self::Text(text) => text.clone(),
            Self::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// One row of a page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) value: Value,
    /// The same for rows whose values the database finds equal.
    pub(crate) rank: i64,
    /// Whether the value is that of the cursor.
    pub(crate) tie: bool,
}

/// The last value that was seen, and how many rows had it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// `None` while there was no row at all.
    pub(crate) value: Option<Value>,
    /// How many rows have this value, of those that were seen.
    pub(crate) present: u64,
    /// How many events rows of this value have made: rows can go, events cannot.
    pub(crate) issued: u64,
}

/// A row that is new, and where the cursor stands once it is decided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fresh {
    pub(crate) key: String,
    pub(crate) shown: String,
    pub(crate) cursor: Cursor,
}

/// The longest value that an event's key holds in full, in bytes.
const KEY_VALUE_MAX: usize = 400;

impl Cursor {
    /// Before the first row.
    pub(crate) fn start() -> Self {
        Self { value: None, present: 0, issued: 0 }
    }

    /// At a value that so many rows have.
    pub(crate) fn at(value: Value, rows: u64) -> Self {
        Self { value: Some(value), present: rows, issued: rows }
    }

    /// The cursor as the value of a mark.
    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads the value of a mark.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Takes a page of rows from this cursor on, in order; answers with those that are new.
    pub(crate) fn advance(&mut self, rows: Vec<Row>) -> Vec<Fresh> {
        let ties = rows.iter().filter(|row| row.tie).count() as u64;
        // Some of those that were seen may be gone; later ones count from there.
        self.present = self.present.min(ties);
        let mut known = self.present;
        let mut rank = None;
        let mut fresh = Vec::new();
        for row in rows {
            if row.tie && known > 0 {
                known -= 1;
                continue;
            }
            if !row.tie && rank != Some(row.rank) {
                *self = Self { value: Some(row.value.clone()), present: 0, issued: 0 };
                rank = Some(row.rank);
            }
            self.present += 1;
            self.issued += 1;
            let shown = row.value.shown();
            fresh.push(Fresh {
                key: key(self.value.as_ref().unwrap_or(&row.value), self.issued),
                shown: shown.chars().take(200).collect(),
                cursor: self.clone(),
            });
        }
        fresh
    }
}

/// Names the event of a row: its value, and a number for each further row of the same value.
fn key(value: &Value, issued: u64) -> String {
    let shown = value.shown();
    let short = if shown.len() <= KEY_VALUE_MAX {
        shown
    } else {
        let end = shown.floor_char_boundary(KEY_VALUE_MAX);
        format!("{}…{:032x}", shown.get(..end).unwrap_or_default(), fnv(shown.as_bytes()))
    };
    if issued == 1 { format!("row:{short}") } else { format!("row:{short}#{issued}") }
}

/// FNV-1a of 128 bits: the same in every version of this program, which std's hashers are not.
fn fnv(bytes: &[u8]) -> u128 {
    let step = |hash: u128, byte: &u8| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B)
    };
    bytes.iter().fold(0x6C62_272E_07BB_0142_62B8_2175_6295_C58D, step)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    /// What a database answers from a cursor on: `rows` are values with how many rows have them.
    fn page(rows: &BTreeMap<i64, u64>, cursor: &Cursor, limit: u64) -> Vec<Row> {
        let from = match &cursor.value {
            Some(Value::Integer(from)) => *from,
            _ => i64::MIN,
        };
        let all = rows.range(from..).flat_map(|(value, count)| (0..*count).map(move |_| *value));
        let limited = all.take(usize::try_from(limit + cursor.present).unwrap());
        let tie = |value: i64| cursor.value == Some(Value::Integer(value));
        limited
            .map(|value| Row { value: Value::Integer(value), rank: value, tie: tie(value) })
            .collect()
    }

    #[test]
    fn equal_values_count_one_by_one_also_when_some_are_deleted() {
        let mut cursor = Cursor::start();
        let keys = |fresh: Vec<Fresh>| fresh.into_iter().map(|row| row.key).collect::<Vec<_>>();
        let mut rows = BTreeMap::from([(1, 1), (5, 2)]);
        let first = cursor.clone();
        assert_eq!(keys(cursor.advance(page(&rows, &first, 10))), ["row:1", "row:5", "row:5#2"]);
        rows.insert(5, 1);
        let second = cursor.clone();
        assert!(cursor.advance(page(&rows, &second, 10)).is_empty());
        rows.insert(5, 2);
        let third = cursor.clone();
        assert_eq!(keys(cursor.advance(page(&rows, &third, 10))), ["row:5#3"], "no key twice");
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
    }

    #[test]
    fn long_values_make_short_keys_that_differ() {
        let long = |end: &str| key(&Value::Text("é".repeat(2_000) + end), 1);
        assert!(long("a").len() <= 512, "{}", long("a").len());
        assert_ne!(long("a"), long("b"));
    }

    proptest! {
        #[test]
        fn each_appended_row_counts_once_whatever_the_pages(
            batches in proptest::collection::vec(proptest::collection::vec(0_i64..3, 0..6), 1..12),
            limit in 1_u64..5,
        ) {
            let mut rows: BTreeMap<i64, u64> = BTreeMap::new();
            let mut cursor = Cursor::start();
            let (mut last, mut expected) = (0, 0);
            let mut keys = HashSet::new();
            for batch in batches {
                for step in batch {
                    last += step;
                    *rows.entry(last).or_default() += 1;
                    expected += 1;
                }
                loop {
                    let before = cursor.clone();
                    let fresh = cursor.advance(page(&rows, &before, limit));
                    if fresh.is_empty() {
                        break;
                    }
                    prop_assert_eq!(&fresh.last().unwrap().cursor, &cursor);
                    for row in fresh {
                        prop_assert!(keys.insert(row.key), "a key twice");
                    }
                }
                prop_assert_eq!(keys.len(), expected);
            }
        }

        #[test]
        fn any_cursor_survives_its_mark(bits: u64, text in ".{0,20}", bytes: Vec<u8>, number: i64) {
            for value in [Value::Integer(number), Value::Real(bits), Value::Text(text), Value::Blob(bytes)] {
                let cursor = Cursor::at(value, 3);
                prop_assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
            }
        }
    }
}
