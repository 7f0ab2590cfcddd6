//! Reading policies from a dictionary.

use std::time::Duration;

use serde_json::{Value, json};

use super::{CatchUp, Debounce, Overlap, Policies};
use crate::Error;

fn read(value: Value) -> Result<Policies, Error> {
    Policies::read("SomeTrigger", value.as_object().unwrap())
}

#[test]
fn without_any_the_seed_is_kept() {
    let policies = read(json!({"colour": "red"})).unwrap();
    assert_eq!(policies, Policies::default());
    assert_eq!(policies.overlap, Overlap::Allow);
    assert_eq!(policies.catch_up_for(true), CatchUp::None);
    assert_eq!(policies.catch_up_for(false), CatchUp::All);
}

#[test]
fn all_of_them_are_read() {
    let policies = read(json!({
        "overlap": "cancel_running", "catch_up": "last", "jitter": 1.5,
        "debounce": {"quiet": 2, "max_wait": 30}, "batch_timeout": 60,
    }));
    let expected = Policies {
        overlap: Overlap::CancelRunning,
        catch_up: Some(CatchUp::Last),
        jitter: Duration::from_millis(1_500),
        debounce: Some(Debounce {
            quiet: Duration::from_secs(2),
            max_wait: Duration::from_secs(30),
        }),
        batch_timeout: Some(Duration::from_secs(60)),
    };
    assert_eq!(policies.unwrap(), expected);
}

#[test]
fn max_wait_is_ten_quiet_times_when_left_open() {
    let debounce = read(json!({"debounce": {"quiet": 3}})).unwrap().debounce.unwrap();
    assert_eq!(debounce.max_wait, Duration::from_secs(30));
}

#[test]
fn unknown_values_are_refused() {
    for (wrong, expected) in [
        (json!({"overlap": "replace"}), "one of allow, skip, queue_one, queue_all, cancel_running"),
        (json!({"catch_up": true}), "one of none, last, all"),
        (json!({"jitter": "1s"}), "`jitter`"),
        (json!({"batch_timeout": -3}), "`batch_timeout`"),
        (json!({"debounce": 3}), "`quiet`"),
        (json!({"debounce": {"quiet": 5, "max_wait": 1}}), "`max_wait`"),
        (json!({"debounce": {"quiet": 5, "key": "x"}}), "not `key`"),
    ] {
        let error = read(wrong).unwrap_err().to_string();
        assert!(error.starts_with("SomeTrigger") && error.contains(expected), "{error}");
    }
}
