//! Databases that are down, tables that are missing, SQL that is none: an error each time, and
//! things go on as soon as they can.

use cov_triggers::observer::Marks;
use cov_triggers::{Registry, Trigger};
use serde_json::json;
use std::sync::Arc;

use super::place::{Place, places};
use crate::observing::Observing;

#[tokio::test]
async fn a_missing_table_is_waited_for() {
    for place in places().await {
        let trigger = place.trigger(json!({"table_name": "orders"}));
        let (error, marks) = Observing::start(&trigger, Marks::new()).end().await;
        assert!(error.to_string().contains("orders"), "{:?}: {error}", place.kind);
        place.run("CREATE TABLE orders (id INT)").await;
        place.run("INSERT INTO orders VALUES (1)").await;
        let mut observing = Observing::healthy(&trigger, marks).await;
        observing.next().await;
        place.run("DROP TABLE orders").await;
        let (error, _) = observing.end().await;
        assert!(error.to_string().contains("orders"), "{:?}: {error}", place.kind);
        place.remove().await;
    }
}

#[tokio::test]
async fn sql_that_the_database_does_not_understand_is_told_in_its_words() {
    for place in places().await {
        place.run("CREATE TABLE orders (id INT, status VARCHAR(20))").await;
        // As the documentation of the SDK writes it: a column that does not exist.
        let own = json!({"table_name": "orders", "where_clauses": ["status = pending"]});
        let (error, _) = Observing::start(&place.trigger(own), Marks::new()).end().await;
        let text = error.to_string();
        assert!(text.starts_with("the database says: "), "{text}");
        assert!(text.contains("pending"), "{:?}: {text}", place.kind);
        let own = json!({"table_name": "orders", "cursor_column": "missing"});
        let (error, _) = Observing::start(&place.trigger(own), Marks::new()).end().await;
        assert!(error.to_string().contains("missing"), "{:?}: {error}", place.kind);
        place.remove().await;
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_an_error_without_the_password() {
    for db_path in [
        "postgresql://ann:hunter2@127.0.0.1:1/d",
        "mysql://ann:hunter2@127.0.0.1:1/d",
        "sqlite:////no/such/directory/x.db",
    ] {
        let dictionary = json!({"name": "DatabaseTrigger", "db_path": db_path, "table_name": "t"});
        let built = Registry::builtin().build(dictionary.as_object().unwrap().clone()).unwrap();
        let trigger: Arc<dyn Trigger> = Arc::from(built);
        let (error, _) = Observing::start(&trigger, Marks::new()).end().await;
        let text = error.to_string();
        assert!(text.starts_with("the database"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_an_error_without_the_password() {
    for place in places().await {
        let Some((_, after)) = place.url.split_once('@') else {
            continue;
        };
        let scheme = place.url.split_once("://").unwrap().0;
        let dictionary = json!({
            "name": "DatabaseTrigger", "db_path": format!("{scheme}://cov:hunter2@{after}"),
            "table_name": "t",
        });
        let built = Registry::builtin().build(dictionary.as_object().unwrap().clone()).unwrap();
        let (error, _) = Observing::start(&Arc::from(built), Marks::new()).end().await;
        assert!(error.to_string().starts_with("the database says: "), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        place.remove().await;
    }
}

#[tokio::test]
async fn a_file_of_sqlite_is_never_made_and_may_come_later() {
    let place = Place::sqlite().await;
    let path = format!("{}.later", place.path());
    let dictionary = json!({"name": "SQLiteTrigger", "db_path": path, "table_name": "t"});
    let built = Registry::builtin().build(dictionary.as_object().unwrap().clone()).unwrap();
    let trigger: Arc<dyn Trigger> = Arc::from(built);
    trigger.check().await.unwrap();
    drop(Observing::start(&trigger, Marks::new()).end().await);
    assert!(!std::path::Path::new(&path).exists());
    place
        .run(&format!(
            "ATTACH '{}' AS l; CREATE TABLE l.t (id INT); INSERT INTO l.t VALUES (1)",
            path.replace('\'', "''")
        ))
        .await;
    let mut observing = Observing::healthy(&trigger, Marks::new()).await;
    observing.next().await;
    observing.stop().await;
}
