//! With a cursor: each new row counts once, whatever happens in between.

use cov_triggers::observer::Marks;
use serde_json::json;

use super::place::{Kind, Place, places};
use crate::observing::Observing;

async fn table(place: &Place, kind: &str) {
    place.run(&format!("CREATE TABLE orders (at {kind}, note VARCHAR(40))")).await;
}

async fn insert(place: &Place, value: &str) {
    place.run(&format!("INSERT INTO orders VALUES ({value}, 'n')")).await;
}

async fn keys(observing: &mut Observing, count: usize) -> Vec<String> {
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push(observing.next().await.key);
    }
    keys
}

#[tokio::test]
async fn each_new_row_counts_once_also_over_restarts() {
    for place in places().await {
        table(&place, "INTEGER").await;
        for old in 1..=3 {
            insert(&place, &old.to_string()).await;
        }
        let own = json!({"table_name": "orders", "cursor_column": "at"});
        let trigger = place.trigger(own);
        assert!(!trigger.repeats());
        let mut observing = Observing::healthy(&trigger, Marks::new()).await;
        insert(&place, "4").await;
        insert(&place, "7").await;
        assert_eq!(keys(&mut observing, 2).await, ["row:4", "row:7"], "{:?}", place.kind);
        let marks = observing.stop().await;
        insert(&place, "7").await;
        insert(&place, "NULL").await;
        insert(&place, "10").await;
        insert(&place, "9").await;
        let mut observing = Observing::healthy(&trigger, marks).await;
        assert_eq!(keys(&mut observing, 3).await, ["row:7#2", "row:9", "row:10"]);
        insert(&place, "11").await;
        assert_eq!(keys(&mut observing, 1).await, ["row:11"], "nothing is told twice");
        let marks = observing.stop().await;
        insert(&place, "12").await;
        let mut anew = Observing::anew(&trigger, marks).await;
        insert(&place, "13").await;
        assert_eq!(keys(&mut anew, 1).await, ["row:13"], "what is not to be caught up with");
        anew.stop().await;
        let preview = trigger.preview().await.unwrap().join("; ");
        assert!(preview.contains("the last one has 13"), "{preview}");
        assert!(preview.contains("never count"), "{preview}");
        place.remove().await;
    }
}

#[tokio::test]
async fn an_empty_table_is_followed_from_its_first_row_on_and_pages_hide_nothing() {
    for place in places().await {
        table(&place, "BIGINT").await;
        let trigger = place.trigger(json!({
            "table_name": "orders", "cursor_column": "at", "where_clauses": ["note = 'n'"],
        }));
        let mut observing = Observing::healthy(&trigger, Marks::new()).await;
        // More than a page; each value three times.
        let values: Vec<String> =
            (0..1_800).map(|number| format!("({}, 'n')", number / 3)).collect();
        place.run(&format!("INSERT INTO orders VALUES {}", values.join(", "))).await;
        place.run("INSERT INTO orders VALUES (900, 'other')").await;
        let seen = keys(&mut observing, 1_800).await;
        let expected: Vec<String> = (0..600)
            .flat_map(|value| {
                [format!("row:{value}"), format!("row:{value}#2"), format!("row:{value}#3")]
            })
            .collect();
        assert_eq!(seen, expected, "{:?}", place.kind);
        insert(&place, "1000").await;
        assert_eq!(keys(&mut observing, 1).await, ["row:1000"]);
        observing.stop().await;
        place.remove().await;
    }
}

/// A type of column, and two values of it in order, as SQL.
fn types(kind: Kind) -> Vec<(&'static str, &'static str, &'static str)> {
    let common = [("VARCHAR(80)", "'a'' ; é'", "'b'"), ("DECIMAL(20, 4)", "1.5", "10.25")];
    let own: &[(&str, &str, &str)] = match kind {
        Kind::Sqlite => &[
            ("REAL", "0.1", "0.30000000000000004"),
            ("TEXT COLLATE NOCASE", "'A'", "'a'"),
            ("BLOB", "x'00ff'", "x'01'"),
            ("", "5", "'text after numbers'"),
        ],
        Kind::Postgres => &[
            ("TIMESTAMPTZ", "'2026-01-01 00:00:00.000001+02'", "'2026-01-01 00:00:00.000002+02'"),
            ("TIMESTAMP", "'2026-01-01 00:00:00.1'", "'2026-01-01 00:00:00.11'"),
            ("DATE", "'2026-01-31'", "'2026-02-01'"),
            ("DOUBLE PRECISION", "0.1", "0.30000000000000004"),
            ("NUMERIC", "1.0", "1.01"),
            (
                "UUID",
                "'00000000-0000-0000-0000-000000000001'",
                "'10000000-0000-0000-0000-000000000000'",
            ),
            ("SMALLINT", "-5", "5"),
            ("CHAR(5)", "'a'", "'b'"),
        ],
        Kind::MySql => &[
            ("TIMESTAMP(6) NULL", "'2026-01-01 00:00:00.000001'", "'2026-01-01 00:00:00.000002'"),
            ("TIMESTAMP NULL", "'2026-01-01 00:00:01'", "'2026-07-01 00:00:01'"),
            ("DATETIME(6)", "'2026-01-01 00:00:00.1'", "'2026-01-01 00:00:00.11'"),
            ("DATE", "'2026-01-31'", "'2026-02-01'"),
            ("BIGINT UNSIGNED", "1", "18446744073709551615"),
            ("TINYINT", "-5", "5"),
            ("VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci", "'A'", "'a'"),
            ("TEXT", "'a'", "'b'"),
        ],
    };
    [&common, own].concat()
}

#[tokio::test]
async fn columns_of_many_types_are_followed() {
    for place in places().await {
        for (kind, first, second) in types(place.kind) {
            table(&place, kind).await;
            insert(&place, first).await;
            let own = json!({"table_name": "orders", "cursor_column": "at"});
            let trigger = place.trigger(own);
            let mut observing = Observing::healthy(&trigger, Marks::new()).await;
            insert(&place, first).await;
            let tie = observing.next().await.key;
            assert!(tie.ends_with("#2"), "{:?} {kind}: {tie}", place.kind);
            insert(&place, second).await;
            let next = observing.next().await.key;
            assert!(!next.ends_with("#2"), "{:?} {kind}: {next}", place.kind);
            let marks = observing.stop().await;
            insert(&place, second).await;
            let mut observing = Observing::healthy(&trigger, marks).await;
            let again = observing.next().await.key;
            assert_eq!(again, format!("{next}#2"), "{:?} {kind}", place.kind);
            observing.stop().await;
            place.run("DROP TABLE orders").await;
        }
        place.remove().await;
    }
}

#[tokio::test]
async fn a_column_that_cannot_be_followed_is_a_trouble_that_says_so() {
    for place in places().await {
        if place.kind == Kind::Sqlite {
            continue;
        }
        place.run("CREATE TABLE orders (at JSON)").await;
        if place.kind == Kind::MySql {
            // MariaDB has no such type of its own.
            place.run("ALTER TABLE orders MODIFY at DOUBLE").await;
        }
        let trigger = place.trigger(json!({"table_name": "orders", "cursor_column": "at"}));
        let (error, _) = Observing::start(&trigger, Marks::new()).end().await;
        assert!(error.to_string().contains("which cannot be followed"), "{error}");
        place.remove().await;
    }
}
