//! What a user's SQL cannot do: write, take for ever, or be two statements.

use std::sync::Arc;
use std::time::Duration;

use cov_triggers::observer::Marks;
use cov_triggers::{Error, Trigger};
use serde_json::json;
use tokio::time::Instant;

use super::place::{Kind, Place, places, registry};
use crate::observing::Observing;

/// Conditions that pass for conditions, and whose evaluation would write or lock.
fn writing(kind: Kind) -> Vec<&'static str> {
    match kind {
        Kind::Sqlite => vec![],
        Kind::Postgres => vec![
            "nextval('numbers') > 0",
            "setval('numbers', 7) > 0",
            "adds_a_row() > 0",
            "set_config('transaction_read_only', 'off', false) = 'off' AND adds_a_row() > 0",
            "id IN (SELECT id FROM orders FOR SHARE)",
        ],
        Kind::MySql => vec!["adds_a_row() > 0", "NEXTVAL(numbers) > 0"],
    }
}

async fn prepared(place: &Place) {
    place.run("CREATE TABLE orders (id INT)").await;
    place.run("INSERT INTO orders VALUES (1)").await;
    match place.kind {
        Kind::Sqlite => {}
        Kind::Postgres => {
            place.run("CREATE SEQUENCE numbers").await;
            place
                .run(
                    "CREATE FUNCTION adds_a_row() RETURNS int LANGUAGE sql \
                     AS 'INSERT INTO orders VALUES (2); SELECT 1'",
                )
                .await;
        }
        Kind::MySql => {
            place.run("CREATE SEQUENCE numbers").await;
            place
                .run(
                    "CREATE FUNCTION adds_a_row() RETURNS INT MODIFIES SQL DATA \
                     BEGIN INSERT INTO orders VALUES (2); RETURN 1; END",
                )
                .await;
        }
    }
}

#[tokio::test]
async fn what_would_write_is_refused_by_the_database() {
    for place in places().await {
        prepared(&place).await;
        for clause in writing(place.kind) {
            let trigger = place.trigger(json!({"table_name": "orders", "where_clauses": [clause]}));
            let (error, _) = Observing::start(&trigger, Marks::new()).end().await;
            let text = error.to_string().to_lowercase().replace('-', " ");
            let refused = text.contains("read only") || text.contains("read write mode");
            assert!(refused, "{clause}: {error}");
        }
        assert_eq!(place.rows("orders").await, 1, "{:?}", place.kind);
        place.remove().await;
    }
}

#[tokio::test]
async fn what_can_be_seen_to_write_is_refused_at_registration() {
    for place in places().await {
        for clause in [
            "1 = 1; DELETE FROM orders",
            "id IN (DELETE FROM orders RETURNING id)",
            "1 = 1 UNION SELECT 1 INTO OUTFILE '/tmp/x'",
            "1 = 1) AS x; DROP TABLE orders; --",
            "id IN (SELECT id FROM orders FOR UPDATE)",
        ] {
            let dictionary = json!({
                "name": "DatabaseTrigger", "db_path": place.sqlalchemy(),
                "table_name": "orders", "where_clauses": [clause],
            });
            match registry().build(dictionary.as_object().unwrap().clone()) {
                Err(Error::Field { field, .. }) => assert_eq!(field, "where_clauses"),
                other => panic!("{clause}: {other:?}"),
            }
        }
        place.remove().await;
    }
}

/// A condition that takes far longer than any test.
fn endless(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => {
            "id IN (WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) \
             SELECT x FROM n WHERE x < 0)"
        }
        Kind::Postgres => "pg_sleep(600) IS NULL",
        Kind::MySql => "SLEEP(600) = 5",
    }
}

#[tokio::test]
async fn what_takes_too_long_is_ended() {
    for place in places().await {
        prepared(&place).await;
        let own = json!({"table_name": "orders", "where_clauses": [endless(place.kind)]});
        let trigger = place.database_trigger(own).with_statement_limit(Duration::from_millis(300));
        let trigger: Arc<dyn Trigger> = Arc::new(trigger);
        let began = Instant::now();
        let ended = tokio::time::timeout(
            Duration::from_secs(30),
            Observing::start(&trigger, Marks::new()).end_or_event(),
        );
        let ended = ended.await.expect("it ends in time");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", place.kind);
        // MySQL makes SLEEP return early instead of failing.
        if place.kind != Kind::MySql {
            let error = ended.expect("an error").to_string();
            assert!(error.contains("longer") || error.contains("timeout"), "{error}");
        }
        place.remove().await;
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_long_query() {
    for place in places().await {
        prepared(&place).await;
        let own = json!({"table_name": "orders", "where_clauses": [endless(place.kind)]});
        let trigger = place.trigger(own);
        let observing = Observing::start(&trigger, Marks::new());
        tokio::task::yield_now().await;
        let began = Instant::now();
        observing.stop().await;
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}: {:?}",
            place.kind,
            began.elapsed()
        );
        place.remove().await;
    }
}
