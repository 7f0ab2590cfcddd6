//! Dictionaries of `DirTrigger`, as the SDK sends them, and what is refused.

use cov_core::trigger::Dictionary;
use cov_triggers::{DirTrigger, Error, Registry, Trigger, TriggerExt as _};
use serde_json::{Value, json};

fn sent(own: Value) -> Dictionary {
    let mut all = json!({
        "lattice_dispatch_id": "d-1", "dispatcher_addr": null, "triggers_server_addr": null,
        "new_dispatch_ids": [], "observe_blocks": false, "event_loop": null,
        "use_internal_funcs": true, "stop_flag": null, "name": "DirTrigger",
        "event_handler": null, "batch_size": 1, "recursive": false,
    });
    let all_fields = all.as_object_mut().unwrap();
    all_fields.extend(own.as_object().unwrap().clone());
    all_fields.clone()
}

fn registry() -> Registry {
    let mut registry = Registry::empty();
    registry.register(DirTrigger::NAME, DirTrigger::from_fields);
    registry
}

fn build(own: Value) -> Result<Box<dyn Trigger>, Error> {
    registry().build(sent(own))
}

#[test]
fn what_the_sdk_sends_comes_back_unchanged() {
    for names in [json!(["created", "closed"]), json!("moved")] {
        let own = json!({
            "dir_path": "~/data", "event_names": names, "batch_size": 3, "recursive": true,
        });
        let trigger = build(own.clone()).unwrap();
        assert_eq!(trigger.events_per_firing(), 3);
        assert!(!trigger.repeats());
        assert_eq!(trigger.to_dict(), sent(own));
    }
}

#[test]
fn wrong_fields_are_named() {
    let wrong = [
        (json!({"event_names": ["created"]}), "dir_path"),
        (json!({"dir_path": 7, "event_names": ["created"]}), "dir_path"),
        (json!({"dir_path": "/"}), "event_names"),
        (json!({"dir_path": "/", "event_names": []}), "event_names"),
        (json!({"dir_path": "/", "event_names": ["created", "opened"]}), "event_names"),
        (json!({"dir_path": "/", "event_names": "created", "batch_size": 0}), "batch_size"),
        (json!({"dir_path": "/", "event_names": "created", "recursive": "yes"}), "recursive"),
        (json!({"dir_path": "/", "event_names": "created", "event_handler": 1}), "event_handler"),
        (json!({"dir_path": "/", "event_names": "created", "poll_interval": 0}), "poll_interval"),
    ];
    for (own, expected) in wrong {
        match build(own.clone()) {
            Err(Error::Field { field, .. }) => assert_eq!(field, expected, "{own}"),
            other => panic!("{own}: {other:?}"),
        }
    }
    let unknown = build(json!({"dir_path": "/", "event_names": "opened"})).unwrap_err();
    let known = "known are created, deleted, modified, moved, closed";
    assert!(unknown.to_string().contains(known), "{unknown}");
}

#[tokio::test]
async fn a_missing_directory_is_refused_at_registration() {
    let home = tempfile::tempdir().unwrap();
    let missing = home.path().join("missing");
    let own = json!({"dir_path": missing.to_str().unwrap(), "event_names": "created"});
    let trigger = build(own).unwrap();
    let refused = trigger.check().await.unwrap_err();
    assert!(refused.to_string().contains("missing cannot be watched"), "{refused}");
    std::fs::create_dir(missing).unwrap();
    trigger.check().await.unwrap();
    assert_eq!(trigger.preview().await.unwrap().len(), 3);
}

#[tokio::test]
async fn the_home_of_the_server_is_meant_by_a_tilde() {
    let trigger = build(json!({"dir_path": "~", "event_names": "created"})).unwrap();
    let home = std::fs::canonicalize(std::env::home_dir().unwrap()).unwrap();
    let preview = trigger.preview().await.unwrap();
    assert!(preview[0].starts_with(&format!("{} holds", home.display())), "{preview:?}");
}
