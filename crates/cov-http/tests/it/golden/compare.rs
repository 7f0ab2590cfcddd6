//! Compares a recorded answer with ours: members, JSON types, fixed texts. Times, digests and the
//! sizes of what is there are not compared.

use serde_json::Value;

/// One way in which an answer differs from the recorded one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// Number of the exchange.
    pub(super) exchange: u64,
    /// `METHOD route: place`, where ids are `*`.
    pub(super) place: String,
    pub(super) recorded: String,
    pub(super) answered: String,
}

/// Members whose texts are never the same twice.
const MASKED: &[&str] = &[
    "digest",
    "start_time",
    "end_time",
    "created_at",
    "updated_at",
    "completed_at",
    "executor_data",
];

/// Appends what differs to `found`.
pub(super) fn compare(
    place: &str,
    recorded: &Value,
    answered: &Value,
    found: &mut Vec<(String, String, String)>,
) {
    let mut differs = |recorded: &Value, answered: &Value| {
        found.push((place.to_owned(), short(recorded), short(answered)));
    };
    match (recorded, answered) {
        (Value::Object(then), Value::Object(now)) => {
            for (name, value) in then {
                let place = format!("{place}.{name}");
                match now.get(name) {
                    Some(other) => compare(&place, value, other, found),
                    None => found.push((place, "there".into(), "missing".into())),
                }
            }
            for name in now.keys().filter(|name| !then.contains_key(*name)) {
                found.push((format!("{place}.{name}"), "missing".into(), "there".into()));
            }
        }
        (Value::Array(then), Value::Array(now)) => arrays(place, then, now, found),
        (Value::String(then), Value::String(now)) => {
            let masked = MASKED.iter().any(|name| place.ends_with(&format!(".{name}")));
            if without_addresses(then) != without_addresses(now) && !masked {
                differs(recorded, answered);
            }
        }
        (Value::Number(then), Value::Number(now)) => {
            let is_size = place.ends_with(".size");
            let both_there = then.as_u64() != Some(0) && now.as_u64() != Some(0);
            if then != now && !(is_size && both_there) {
                differs(recorded, answered);
            }
        }
        (then, now) if then == now => {}
        _ => differs(recorded, answered),
    }
}

fn arrays(place: &str, then: &[Value], now: &[Value], found: &mut Vec<(String, String, String)>) {
    // A list of all dispatches shows those of the recording's other workflows as well.
    let is_list = place.ends_with(".dispatches");
    if then.len() != now.len() && !is_list {
        found.push((
            place.to_owned(),
            format!("{} long", then.len()),
            format!("{} long", now.len()),
        ));
        return;
    }
    let (then, now) = (sorted(place, then), sorted(place, now));
    for (index, (then, now)) in then.iter().zip(&now).enumerate() {
        let step = then.get("id").map_or(index.to_string(), Value::to_string);
        compare(&format!("{place}[{step}]"), then, now, found);
    }
}

/// Nodes and links may come in any order.
fn sorted(place: &str, list: &[Value]) -> Vec<Value> {
    let mut list = list.to_vec();
    if place.ends_with(".nodes") {
        list.sort_by_key(|node| node["id"].as_u64());
    }
    if place.ends_with(".links") {
        list.sort_by_key(Value::to_string);
    }
    list
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(160).collect()
}

/// A text in which the addresses of Python objects are all alike.
pub(super) fn without_addresses(text: &str) -> String {
    let mut parts = text.split(" at 0x");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(" at 0x");
        plain.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_hexdigit()));
    }
    plain
}
