//! From a dictionary to a trigger, and back.

use serde_json::{Value, json};

use crate::{Error, Registry, TriggerExt};

fn build(value: Value) -> Result<Value, Error> {
    let dictionary = value.as_object().unwrap().clone();
    Registry::builtin().build(dictionary).map(|trigger| Value::Object(trigger.to_dict()))
}

fn as_the_sdk_sends_it(name: &str) -> Value {
    json!({
        "lattice_dispatch_id": "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11", "dispatcher_addr": null,
        "triggers_server_addr": null, "new_dispatch_ids": [], "observe_blocks": true,
        "event_loop": null, "use_internal_funcs": true, "stop_flag": null, "name": name,
    })
}

#[test]
fn dictionaries_of_the_sdk_come_back_unchanged() {
    let mut dictionary = as_the_sdk_sends_it("BaseTrigger");
    dictionary["tags"] = json!({"team": ["a", 1]});
    dictionary["overlap"] = json!("queue_one");
    assert_eq!(build(dictionary.clone()).unwrap(), dictionary);
}

#[test]
fn an_unknown_type_is_refused_with_the_list_of_known_ones() {
    let error = build(as_the_sdk_sends_it("TideTrigger")).unwrap_err().to_string();
    assert!(error.contains("TideTrigger") && error.contains("BaseTrigger"), "{error}");
}

#[test]
fn policies_are_checked_when_a_trigger_is_built() {
    let mut dictionary = as_the_sdk_sends_it("BaseTrigger");
    dictionary["overlap"] = json!("replace");
    let error = build(dictionary).unwrap_err().to_string();
    assert!(error.contains("`overlap`") && error.contains("cancel_running"), "{error}");
}

#[cfg(feature = "time")]
#[test]
fn a_time_trigger_keeps_how_its_gap_was_written() {
    for gap in [json!(2), json!(0.5), json!(3.0)] {
        let mut dictionary = as_the_sdk_sends_it("TimeTrigger");
        dictionary["time_gap"] = gap;
        assert_eq!(build(dictionary.clone()).unwrap().to_string(), dictionary.to_string());
    }
    for wrong in [json!(0), json!(-1), json!("2"), json!(0.0001), json!(null)] {
        let mut dictionary = as_the_sdk_sends_it("TimeTrigger");
        dictionary["time_gap"] = wrong;
        let error = build(dictionary).unwrap_err().to_string();
        assert!(error.contains("field `time_gap`"), "{error}");
    }
}
