//! What registers a trigger, as the SDK and `cov` send it, with any edits: a trigger, or a refusal in words, and never
//! a panic. What was taken reads back as the same, because the next start of the server reads it; its schedule goes
//! forward; its secret is not shown.

#![no_main]

use arbitrary::Arbitrary;
use cov_core::time::Timestamp;
use cov_core::trigger::Dictionary;
use cov_triggers::{Registry, Schedule, Source, TriggerExt as _, hide_secrets};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// One body a line: each type with all of its fields.
const WHOLE: &str = include_str!("../seeds/triggers.jsonl");

/// Fields that mean something to a type or to all.
const FIELDS: [&str; 26] = [
    "name",
    "lattice_dispatch_id",
    "new_dispatch_ids",
    "use_internal_funcs",
    "event_loop",
    "dispatcher_addr",
    "time_gap",
    "dir_path",
    "event_names",
    "event_handler",
    "batch_size",
    "batch_timeout",
    "recursive",
    "db_path",
    "table_name",
    "poll_interval",
    "where_clauses",
    "trigger_after_n",
    "cursor_column",
    "cron",
    "time_zone",
    "jitter",
    "overlap",
    "catch_up",
    "debounce",
    "secret",
];

/// 2033-05-18, in the middle of a second.
const NOW: Timestamp = Timestamp::from_micros(2_000_000_000_123_456);
const DAY_MICROS: i64 = 86_400_000_000;

/// What is done to the text of a body at one place.
#[derive(Debug, Arbitrary)]
struct Edit<'a> {
    at: u16,
    remove: u8,
    insert: &'a [u8],
}

#[derive(Debug, Arbitrary)]
enum Given<'a> {
    Nothing,
    Flag(bool),
    Whole(i64),
    Number(f64),
    Text(&'a str),
    Texts(Vec<&'a str>),
}

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    whole: u8,
    edits: Vec<Edit<'a>>,
    fields: Vec<(u8, Given<'a>)>,
    call: (Option<&'a str>, &'a [u8]),
}

impl From<&Given<'_>> for Value {
    fn from(given: &Given<'_>) -> Self {
        match given {
            Given::Nothing => Value::Null,
            Given::Flag(flag) => (*flag).into(),
            Given::Whole(number) => (*number).into(),
            Given::Number(number) => (*number).into(),
            Given::Text(text) => (*text).into(),
            Given::Texts(texts) => texts.clone().into(),
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    let Some(mut dictionary) = dictionary(&input) else { return };
    for (field, given) in input.fields.iter().take(8) {
        let field = FIELDS[usize::from(*field) % FIELDS.len()];
        dictionary.insert(field.to_owned(), given.into());
    }
    let registry = Registry::builtin();
    let trigger = match registry.build(dictionary) {
        Ok(trigger) => trigger,
        Err(refused) => return assert!(!refused.to_string().is_empty()),
    };
    let kept = trigger.to_dict();
    let again = registry.build(kept.clone()).expect("what was taken once is taken again").to_dict();
    assert_eq!(kept, again);
    let shown = hide_secrets(&kept);
    assert!(kept.get("secret").is_none_or(|secret| secret.is_null() || shown["secret"] == "***"));
    assert!(trigger.events_per_firing() > 0);
    let (signature, body) = input.call;
    assert!(trigger.admit(signature, body).is_err(), "nobody can guess a signature");
    if let Source::Ticks(schedule) = trigger.source() {
        goes_forward(&*schedule);
    }
});

fn dictionary(input: &Input<'_>) -> Option<Dictionary> {
    let number = usize::from(input.whole) % WHOLE.lines().count();
    let mut text = WHOLE.lines().nth(number)?.as_bytes().to_vec();
    for Edit { at, remove, insert } in &input.edits {
        let start = usize::from(*at) % (text.len() + 1);
        let end = (start + usize::from(*remove)).min(text.len());
        text.splice(start..end, insert.iter().copied());
    }
    let read = serde_json::from_slice(&text);
    assert!(read.is_ok() || !input.edits.is_empty(), "a whole body is refused: {read:?}");
    read.ok()
}

fn goes_forward(schedule: &dyn Schedule) {
    let created = Timestamp::from_micros(NOW.as_micros() - 30 * DAY_MICROS);
    let mut last = NOW;
    for _ in 0..4 {
        let Some(next) = schedule.next(created, last) else { break };
        assert!(next > last, "{schedule:?}: {next} is not behind {last}");
        last = next;
    }
    let missed = schedule.missed(created, created, NOW);
    assert_eq!(missed.count == 0, missed.last.is_none());
    assert!(missed.last.is_none_or(|last| last > created && last <= NOW));
}
