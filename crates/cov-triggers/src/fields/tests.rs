//! Reading fields of dictionaries, and what is said of wrong ones.

use cov_core::trigger::Dictionary;
use serde_json::{Value, json};

use super::{Fields, Seconds};
use crate::{Base, Error};

fn fields(value: Value) -> Fields {
    let mut dictionary = match value {
        Value::Object(dictionary) => dictionary,
        other => panic!("{other} is no dictionary"),
    };
    dictionary.insert("name".to_owned(), json!("SomeTrigger"));
    Fields::new(dictionary).unwrap()
}

type Read = fn(&mut Fields) -> Result<(), Error>;

#[test]
fn errors_name_the_trigger_and_the_field() {
    let cases: [(Value, Read, &str); 10] = [
        (json!({}), |f| f.text("x").map(drop), "is missing: a text"),
        (json!({"x": 1}), |f| f.text("x").map(drop), "has to be a text, and is 1"),
        (json!({"x": [1]}), |f| f.texts("x").map(drop), "a text or a list of texts, and is a list"),
        (json!({"x": "yes"}), |f| f.flag("x", true).map(drop), "true or false, and is `yes`"),
        (json!({"x": 0}), |f| f.count("x", 1).map(drop), "at least 1, and is 0"),
        (json!({"x": 1.5}), |f| f.count("x", 1).map(drop), "at least 1, and is 1.5"),
        (json!({"x": -1}), |f| f.seconds("x").map(drop), "seconds above 0, and is -1"),
        (json!({"x": 0}), |f| f.seconds("x").map(drop), "seconds above 0, and is 0"),
        (json!({"x": {}}), |f| f.null("x"), "has to be null, and is a dictionary"),
        (
            json!({"x": "c"}),
            |f| f.choice("x", &[("a", 1), ("b", 2)]).map(drop),
            "one of a, b, and is `c`",
        ),
    ];
    for (dictionary, read, expected) in cases {
        let error = read(&mut fields(dictionary.clone())).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("SomeTrigger: field `x` "), "{dictionary}: {text}");
        assert!(text.ends_with(expected), "{dictionary}: {text}");
    }
}

#[test]
fn the_name_has_to_be_a_class_name() {
    for wrong in [json!({}), json!({"name": null}), json!({"name": 3}), json!({"name": ""})] {
        let error = Fields::new(wrong.as_object().unwrap().clone()).unwrap_err();
        assert!(error.to_string().contains("field `name`"), "{error}");
    }
}

#[test]
fn seconds_are_written_as_they_came() {
    for written in [json!(2), json!(2.0), json!(0.25), json!(86400)] {
        let mut fields = fields(json!({"x": written}));
        assert_eq!(fields.seconds("x").unwrap().to_value().to_string(), written.to_string());
    }
    assert_eq!(
        Seconds::new(0.1.to_string().parse().unwrap()).unwrap().duration().as_micros(),
        100_000
    );
}

#[test]
fn a_single_text_is_a_list_of_one_and_whole_floats_are_counts() {
    assert_eq!(fields(json!({"x": "created"})).texts("x").unwrap(), ["created"]);
    assert_eq!(fields(json!({"x": 3.0})).count("x", 1).unwrap(), 3);
}

#[test]
fn the_base_takes_its_own_and_leaves_the_rest() {
    let mut fields = fields(json!({
        "lattice_dispatch_id": "d-1", "dispatcher_addr": null, "triggers_server_addr": "h:1",
        "new_dispatch_ids": ["d-2"], "observe_blocks": false, "event_loop": null,
        "use_internal_funcs": false, "stop_flag": null, "overlap": "skip", "colour": 7,
    }));
    let mut base = Base::default();
    fields.read_base(&mut base).unwrap();
    assert_eq!(base.lattice_dispatch_id.unwrap().as_str(), "d-1");
    assert_eq!(base.triggers_server_addr.as_deref(), Some("h:1"));
    assert_eq!(base.new_dispatch_ids.len(), 1);
    assert!(!base.observe_blocks && !base.use_internal_funcs);
    let rest: Dictionary = fields.rest();
    assert_eq!(rest.keys().collect::<Vec<_>>(), ["colour", "overlap"]);
}

#[test]
fn a_common_field_of_the_wrong_type_is_named() {
    for (field, value) in [
        ("lattice_dispatch_id", json!("../etc")),
        ("lattice_dispatch_id", json!(7)),
        ("new_dispatch_ids", json!([1])),
        ("event_loop", json!("loop")),
        ("stop_flag", json!(true)),
        ("observe_blocks", json!(null)),
        ("use_internal_funcs", json!("no")),
        ("dispatcher_addr", json!(80)),
    ] {
        let error = fields(json!({field: value})).read_base(&mut Base::default()).unwrap_err();
        assert!(error.to_string().contains(&format!("field `{field}`")), "{error}");
    }
}
