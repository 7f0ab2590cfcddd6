//! What a cron trigger reads, and when it ticks around changes of the clock.

use std::collections::BTreeSet;

use cov_core::time::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use proptest::prelude::*;

use super::{CronTrigger, Fold, Gap};
use crate::trigger::Schedule as _;
use crate::{Error, Registry, TriggerExt as _};

fn at(text: &str) -> Timestamp {
    let instant: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_micros(instant.as_microsecond())
}

/// The next ticks after a point, as the clocks of `zone` show them.
fn shown(trigger: &CronTrigger, zone: &str, after: &str, count: usize) -> Vec<String> {
    let zone = TimeZone::get(zone).unwrap();
    let show = |tick: &Timestamp| {
        let instant = jiff::Timestamp::from_microsecond(tick.as_micros()).unwrap();
        instant.to_zoned(zone.clone()).strftime("%m-%d %H:%M%:z").to_string()
    };
    trigger.preview(at(after), count).iter().map(show).collect()
}

fn berlin(pattern: &str) -> CronTrigger {
    CronTrigger::new(pattern).unwrap().time_zone("Europe/Berlin").unwrap()
}

#[test]
fn times_that_the_clock_leaves_out() {
    let trigger = berlin("30 2 * * *");
    let ticks = |trigger: &CronTrigger| shown(trigger, "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
    assert_eq!(ticks(&trigger), ["03-29 03:00+02:00", "03-30 02:30+02:00"]);
    assert_eq!(ticks(&trigger.gap(Gap::Skip)), ["03-30 02:30+02:00", "03-31 02:30+02:00"]);

    let often = shown(&berlin("*/20 * * * *"), "Europe/Berlin", "2026-03-29T00:39:00Z", 3);
    assert_eq!(often, ["03-29 01:40+01:00", "03-29 03:00+02:00", "03-29 03:20+02:00"]);
}

#[test]
fn times_that_the_clock_shows_twice() {
    let ticks = |fold| {
        let trigger = berlin("30 2 * * *").fold(fold);
        shown(&trigger, "Europe/Berlin", "2026-10-24T12:00:00Z", 2)
    };
    assert_eq!(ticks(Fold::First), ["10-25 02:30+02:00", "10-26 02:30+01:00"]);
    assert_eq!(ticks(Fold::Second), ["10-25 02:30+01:00", "10-26 02:30+01:00"]);
    assert_eq!(ticks(Fold::Both), ["10-25 02:30+02:00", "10-25 02:30+01:00"]);
}

#[test]
fn the_hour_after_the_first_showing_is_quiet_unless_both_count() {
    let ticks = |fold| {
        let trigger = berlin("30 * * * *").fold(fold);
        shown(&trigger, "Europe/Berlin", "2026-10-24T23:45:00Z", 3)
    };
    assert_eq!(ticks(Fold::First), ["10-25 02:30+02:00", "10-25 03:30+01:00", "10-25 04:30+01:00"]);
    assert_eq!(ticks(Fold::Both)[..2], ["10-25 02:30+02:00", "10-25 02:30+01:00"]);
}

#[test]
fn seconds_years_and_rare_days_are_understood() {
    let leap = CronTrigger::new("0 0 29 2 *").unwrap();
    assert_eq!(
        leap.preview(at("2026-01-01T00:00:00Z"), 2),
        [at("2028-02-29T00:00:00Z"), at("2032-02-29T00:00:00Z")]
    );
    let seconds = CronTrigger::new("*/15 * * * * *").unwrap();
    assert_eq!(seconds.preview(at("2026-01-01T00:00:01Z"), 1), [at("2026-01-01T00:00:15Z")]);
    let once = CronTrigger::new("0 0 12 24 12 * 2026").unwrap();
    assert_eq!(once.preview(at("2026-01-01T00:00:00Z"), 5), [at("2026-12-24T12:00:00Z")]);
    let far = berlin("0 30 2 31 3 * 2999");
    assert_eq!(far.preview(at("2026-01-01T00:00:00Z"), 5).len(), 1);
}

#[test]
fn a_dictionary_comes_back_and_nonsense_is_named() {
    let build = |value: serde_json::Value| -> Result<serde_json::Value, Error> {
        let built = Registry::builtin().build(value.as_object().unwrap().clone())?;
        Ok(serde_json::Value::Object(built.to_dict()))
    };
    let written = serde_json::json!({
        "name": "CronTrigger", "cron": "30 2 * * MON-FRI", "time_zone": "Europe/Berlin",
        "gap": "skip", "fold": "both",
    });
    let read = build(written.clone()).unwrap();
    for (field, value) in written.as_object().unwrap() {
        assert_eq!(&read[field], value);
    }
    for (field, value, expected) in [
        ("cron", "61 * * * *", "field `cron`"),
        ("cron", "0 0 30 2 *", "no such time ever comes"),
        ("cron", "tomorrow", "field `cron`"),
        ("time_zone", "Mars/Olympus", "field `time_zone`"),
        ("gap", "later", "one of next, skip"),
        ("fold", "third", "one of first, second, both"),
    ] {
        let mut wrong = written.clone();
        wrong[field] = value.into();
        let error = build(wrong).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Every tick in a range, found by asking the zone about every minute on the wall.
fn by_looking_at_every_minute(
    matches: impl Fn(DateTime) -> bool,
    zone: &TimeZone,
    (gap, fold): (Gap, Fold),
    (from, until): (jiff::Timestamp, jiff::Timestamp),
) -> Vec<jiff::Timestamp> {
    let day = jiff::SignedDuration::from_hours(36);
    let mut wall =
        zone.to_datetime(from - day).with().second(0).subsec_nanosecond(0).build().unwrap();
    let end = zone.to_datetime(until + day);
    let mut ticks = BTreeSet::new();
    while wall < end {
        if matches(wall) {
            match zone.to_ambiguous_timestamp(wall).offset() {
                AmbiguousOffset::Unambiguous { offset } => {
                    ticks.insert(offset.to_timestamp(wall).unwrap());
                }
                AmbiguousOffset::Gap { after, .. } => {
                    // With the offset after it, a time that is left out lies before the change.
                    let before = after.to_timestamp(wall).unwrap();
                    let change = zone.following(before).next().unwrap().timestamp();
                    ticks.extend((gap == Gap::Next).then_some(change));
                }
                AmbiguousOffset::Fold { before, after } => {
                    let first = before.to_timestamp(wall).unwrap();
                    let second = after.to_timestamp(wall).unwrap();
                    ticks.extend((fold != Fold::Second).then_some(first));
                    ticks.extend((fold != Fold::First).then_some(second));
                }
            }
        }
        wall = wall.checked_add(jiff::SignedDuration::from_mins(1)).unwrap();
    }
    ticks.into_iter().filter(|tick| *tick > from && *tick <= until).collect()
}

/// Zones with changes of an hour, of half an hour, of a whole day, twice during Ramadan, and with
/// none.
const ZONES: [&str; 9] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Africa/Cairo",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "Asia/Tehran",
    "Asia/Kolkata",
];

fn changes(zone: &TimeZone) -> Vec<jiff::Timestamp> {
    let first: jiff::Timestamp = "2000-01-01T00:00:00Z".parse().unwrap();
    let last: jiff::Timestamp = "2041-01-01T00:00:00Z".parse().unwrap();
    let following = zone.following(first).map(|change| change.timestamp());
    following.take_while(|change| *change < last).collect()
}

/// Compares the ticks around a change of a zone with what looking at every minute finds.
fn check_around(
    zone_name: &str,
    change: jiff::Timestamp,
    pattern: (u8, u8),
    policies: (Gap, Fold),
) {
    let (every, hour) = pattern;
    let zone = TimeZone::get(zone_name).unwrap();
    let hours = if hour < 24 { hour.to_string() } else { "*".to_owned() };
    let trigger = CronTrigger::new(&format!("*/{every} {hours} * * *")).unwrap();
    let trigger = trigger.time_zone(zone_name).unwrap().gap(policies.0).fold(policies.1);
    let from = change - jiff::SignedDuration::from_hours(5);
    let until = change + jiff::SignedDuration::from_hours(29);
    let matches = |wall: DateTime| {
        wall.minute() % i8::try_from(every).unwrap() == 0
            && (hour >= 24 || wall.hour() == i8::try_from(hour).unwrap())
    };
    let expected = by_looking_at_every_minute(matches, &zone, policies, (from, until));
    let mut found = Vec::new();
    let mut after = Timestamp::from_micros(from.as_microsecond());
    while let Some(tick) = trigger.calendar.next(after, after) {
        let instant = jiff::Timestamp::from_microsecond(tick.as_micros()).unwrap();
        if instant > until {
            break;
        }
        found.push(instant);
        after = tick;
    }
    assert_eq!(found, expected, "{zone_name} around {change}, */{every} {hours}, {policies:?}");
}

#[test]
fn every_change_of_forty_years_in_every_zone() {
    for zone_name in ZONES {
        let changes = changes(&TimeZone::get(zone_name).unwrap());
        for (index, change) in changes.iter().enumerate() {
            let gap = if index % 4 < 2 { Gap::Next } else { Gap::Skip };
            let fold = [Fold::First, Fold::Second, Fold::Both][index % 3];
            check_around(zone_name, *change, (20, 24), (gap, fold));
            check_around(zone_name, *change, (30, 2), (gap, fold));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn ticks_around_any_change_under_any_policy(
        zone in 0..ZONES.len(), change in any::<prop::sample::Index>(),
        every in 1_u8..=59, hour in 0_u8..30, gap in any::<bool>(), fold in 0_usize..3,
    ) {
        let changes = changes(&TimeZone::get(ZONES[zone]).unwrap());
        prop_assume!(!changes.is_empty());
        let gap = if gap { Gap::Next } else { Gap::Skip };
        let fold = [Fold::First, Fold::Second, Fold::Both][fold];
        check_around(ZONES[zone], changes[change.index(changes.len())], (every, hour), (gap, fold));
    }
}
