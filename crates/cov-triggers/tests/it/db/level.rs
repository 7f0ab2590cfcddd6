//! The seed's way: each look that finds rows counts one.

use std::sync::Arc;
use std::time::Duration;

use cov_triggers::observer::Marks;
use cov_triggers::{Fields, SQLiteTrigger, Trigger};
use serde_json::json;

use super::place::{Place, places};
use crate::observing::{Observing, PATIENCE};

fn micros(key: &str) -> i64 {
    key.strip_prefix("poll:").unwrap().parse().unwrap()
}

#[tokio::test]
async fn each_look_that_finds_a_row_counts_on_a_grid_without_drift() {
    for place in places().await {
        place.run("CREATE TABLE orders (id INT, status VARCHAR(20))").await;
        let own = json!({
            "table_name": "orders", "where_clauses": ["id > 2", "status = 'pending'"],
            "trigger_after_n": 2,
        });
        let trigger = place.trigger(own);
        assert_eq!(trigger.events_per_firing(), 2);
        assert!(trigger.repeats());
        let mut observing = Observing::healthy(&trigger, Marks::new()).await;
        place.run("INSERT INTO orders VALUES (1, 'pending'), (3, 'done')").await;
        place.run("INSERT INTO orders VALUES (3, 'pending')").await;
        let first = observing.next().await;
        assert_eq!(first.detail, "orders has rows");
        for _ in 0..5 {
            let event = observing.next().await;
            let later = micros(&event.key) - micros(&first.key);
            assert_eq!(later % 20_000, 0, "{:?}: off the grid by {later} us", place.kind);
            assert_eq!(event.at.as_micros(), micros(&event.key));
        }
        assert!(observing.stop().await.is_empty(), "no marks");
        place.remove().await;
    }
}

#[tokio::test]
async fn a_row_that_is_gone_counts_no_longer() {
    for place in places().await {
        place.run("CREATE TABLE orders (id INT)").await;
        place.run("INSERT INTO orders VALUES (1)").await;
        let trigger = place.trigger(json!({"table_name": "orders"}));
        let mut observing = Observing::healthy(&trigger, Marks::new()).await;
        observing.next().await;
        place.run("DELETE FROM orders").await;
        observing.stop().await;
        let mut observing = Observing::healthy(&trigger, Marks::new()).await;
        let quiet = tokio::time::timeout(Duration::from_millis(300), observing.next()).await;
        assert!(quiet.is_err(), "{:?}: {quiet:?}", place.kind);
        place.remove().await;
    }
}

#[tokio::test]
async fn names_in_every_form_and_conditions_of_every_shape_reach_the_database() {
    for place in places().await {
        place.run("CREATE TABLE Orders (id INT, note VARCHAR(40))").await;
        place.run("INSERT INTO Orders VALUES (1, 'a;b -- c')").await;
        let quote = if place.kind == super::place::Kind::Postgres { '"' } else { '`' };
        place.run(&format!("CREATE TABLE {quote}my table{quote} (id INT)")).await;
        place.run(&format!("INSERT INTO {quote}my table{quote} VALUES (1)")).await;
        let shapes = [
            json!({"table_name": "Orders", "where_clauses": ["note = 'a;b -- c'"]}),
            json!({"table_name": "Orders", "where_clauses": ["id = 1 -- and more", "1 = 1"]}),
            json!({"table_name": "Orders", "where_clauses": ["id = 2 OR id = 1", "note LIKE 'a%'"]}),
            json!({"table_name": "Orders", "where_clauses": "id IN (SELECT id FROM Orders)"}),
            json!({"table_name": "Orders", "where_clauses": ["1 = 1 GROUP BY id, note HAVING COUNT(*) > 0"]}),
            json!({"table_name": "Orders", "where_clauses": ["1 = 1 ORDER BY id LIMIT 5"]}),
            json!({"table_name": "Orders", "where_clauses": []}),
            json!({"table_name": "my table"}),
            json!({"table_name": "\"my table\""}),
        ];
        for own in shapes {
            let mut observing = Observing::healthy(&place.trigger(own.clone()), Marks::new()).await;
            observing.next().await;
            observing.stop().await;
        }
        place.remove().await;
    }
}

#[tokio::test]
async fn a_sqlite_trigger_takes_the_path_of_a_file() {
    let place = Place::sqlite().await;
    place.run("CREATE TABLE t (id INTEGER)").await;
    place.run("INSERT INTO t VALUES (1)").await;
    let dictionary = json!({
        "name": "SQLiteTrigger", "db_path": place.path(), "table_name": "t",
        "poll_interval": 0.02,
    });
    let mut fields = Fields::new(dictionary.as_object().unwrap().clone()).unwrap();
    let trigger: Arc<dyn Trigger> = Arc::new(SQLiteTrigger::from_fields(&mut fields).unwrap());
    let mut observing = Observing::healthy(&trigger, Marks::new()).await;
    assert_eq!(observing.next_detail().await, "t has rows");
    observing.stop().await;
    let preview = trigger.preview().await.unwrap();
    assert_eq!(preview, ["t has rows that meet the conditions"]);
}

#[tokio::test]
async fn a_connection_that_is_seldom_used_is_opened_for_each_look() {
    let place = Place::sqlite().await;
    place.run("CREATE TABLE t (id INTEGER)").await;
    place.run("INSERT INTO t VALUES (1)").await;
    let trigger = place.trigger(json!({"table_name": "t", "poll_interval": 3_600}));
    let mut observing = Observing::healthy(&trigger, Marks::new()).await;
    observing.next().await;
    // Refused as long as anybody has the file open.
    let closed = async {
        while place.try_run("PRAGMA journal_mode = DELETE").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("the file is closed");
    observing.stop().await;
}
