//! Dictionaries of the database triggers, as the SDK sends them, and what is refused.

use cov_core::trigger::Dictionary;
use cov_triggers::{Error, Trigger, TriggerExt as _};
use serde_json::{Value, json};

use super::place::registry;

fn sent(name: &str, own: Value) -> Dictionary {
    let mut all = json!({
        "lattice_dispatch_id": "d-1", "dispatcher_addr": null, "triggers_server_addr": null,
        "new_dispatch_ids": [], "observe_blocks": true, "event_loop": null,
        "use_internal_funcs": true, "stop_flag": null, "name": name,
        "table_name": "orders", "poll_interval": 1, "where_clauses": null, "trigger_after_n": 1,
    });
    let fields = all.as_object_mut().unwrap();
    fields.extend(own.as_object().unwrap().clone());
    fields.clone()
}

fn build(name: &str, own: Value) -> Result<Box<dyn Trigger>, Error> {
    registry().build(sent(name, own))
}

#[test]
fn what_the_sdk_sends_comes_back_unchanged() {
    let all = [
        ("SQLiteTrigger", json!({"db_path": "/var/lib/x.db"})),
        (
            "SQLiteTrigger",
            json!({"db_path": "x.db", "where_clauses": ["id > 2", "status = pending"]}),
        ),
        ("DatabaseTrigger", json!({"db_path": "postgresql://u:p@h/d", "poll_interval": 0.25})),
        ("DatabaseTrigger", json!({"db_path": "mysql+pymysql://u@h/d", "trigger_after_n": 3})),
        ("DatabaseTrigger", json!({"db_path": "sqlite:////x.db", "where_clauses": []})),
        (
            "DatabaseTrigger",
            json!({"db_path": "mariadb://h/d", "cursor_column": "id", "overlap": "skip"}),
        ),
    ];
    for (name, own) in all {
        let trigger = build(name, own.clone()).unwrap_or_else(|error| panic!("{own}: {error}"));
        assert_eq!(trigger.name(), name);
        assert_eq!(trigger.to_dict(), sent(name, own));
    }
}

#[test]
fn wrong_fields_are_named() {
    let good = "sqlite:////x.db";
    let wrong = [
        (json!({}), "db_path"),
        (json!({"db_path": "oracle://h/d"}), "db_path"),
        (json!({"db_path": "x.db"}), "db_path"),
        (json!({"db_path": good, "table_name": null}), "table_name"),
        (json!({"db_path": good, "table_name": "a.b.c"}), "table_name"),
        (json!({"db_path": good, "table_name": "\"x"}), "table_name"),
        (json!({"db_path": good, "poll_interval": 0}), "poll_interval"),
        (json!({"db_path": good, "poll_interval": "1"}), "poll_interval"),
        (json!({"db_path": good, "where_clauses": [1]}), "where_clauses"),
        (json!({"db_path": good, "where_clauses": [""]}), "where_clauses"),
        (json!({"db_path": good, "where_clauses": ["a = 'x"]}), "where_clauses"),
        (json!({"db_path": good, "trigger_after_n": 0}), "trigger_after_n"),
        (json!({"db_path": good, "cursor_column": 5}), "cursor_column"),
        (json!({"db_path": good, "cursor_column": "t.id"}), "cursor_column"),
    ];
    for (own, expected) in wrong {
        match build("DatabaseTrigger", own.clone()) {
            Err(Error::Field { field, .. }) => assert_eq!(field, expected, "{own}"),
            other => panic!("{own}: {other:?}"),
        }
    }
}

#[test]
fn a_password_is_not_shown_by_errors_or_by_debug() {
    let own = json!({"db_path": "postgresql://ann:hunter2@h/d", "table_name": "\"x"});
    let error = build("DatabaseTrigger", own).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    let trigger = build("DatabaseTrigger", json!({"db_path": "mysql://ann:hunter2@h/d"})).unwrap();
    assert!(!format!("{trigger:?}").contains("hunter2"), "{trigger:?}");
}

#[tokio::test]
async fn a_database_that_is_down_is_no_reason_to_refuse() {
    let own = json!({"db_path": "postgresql://u:p@127.0.0.1:1/d"});
    build("DatabaseTrigger", own).unwrap().check().await.unwrap();
}
