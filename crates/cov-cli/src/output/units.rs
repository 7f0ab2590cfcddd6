//! Times, durations, sizes and numbers in words. Pure.

use std::time::Duration;

use cov_core::time::Timestamp;

use super::Screen;

/// A span of time, as exactly as people want it: milliseconds below a second, tenths below a
/// minute, then the two largest units.
pub(crate) fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 if span.is_zero() => "0 ms".to_owned(),
        0 if span.as_millis() == 0 => "<1 ms".to_owned(),
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{}.{} s", seconds, span.subsec_millis() / 100),
        _ => in_units(seconds),
    }
}

/// The two largest units of a number of seconds.
pub(crate) fn in_units(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut rest = seconds;
    let parts = units.map(|(unit, length)| {
        let count = rest / length;
        rest %= length;
        (count, unit)
    });
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
    let shown = parts[first..].iter().take(2).map(|(count, unit)| format!("{count} {unit}"));
    shown.collect::<Vec<_>>().join(" ")
}

/// How long something was, or has been at work.
pub(crate) fn took(
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    now: Timestamp,
) -> Option<Duration> {
    Some(to.unwrap_or(now).since(from?))
}

/// A moment: for people how long ago it is, in pipes the time itself.
pub(crate) fn moment(at: Timestamp, screen: &Screen) -> String {
    if !screen.is_terminal {
        return time(at, screen);
    }
    match at > screen.now {
        true => format!("in {}", rough(at.since(screen.now))),
        false => match screen.now.since(at) {
            age if age < Duration::from_secs(2) => "now".to_owned(),
            age => format!("{} ago", rough(age)),
        },
    }
}

/// The largest unit alone.
fn rough(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A time: in the zone of a person who reads it now, in UTC in pipes.
pub(crate) fn time(at: Timestamp, screen: &Screen) -> String {
    let Ok(moment) = jiff::Timestamp::from_microsecond(at.as_micros()) else {
        return at.to_string();
    };
    match screen.is_terminal {
        true => {
            let zoned = moment.to_zoned(screen.zone.clone());
            zoned.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
        }
        false => moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }
}

/// The time of day, in the same zone.
pub(crate) fn clock(at: Timestamp, screen: &Screen) -> String {
    let Ok(moment) = jiff::Timestamp::from_microsecond(at.as_micros()) else {
        return at.to_string();
    };
    moment.to_zoned(screen.zone.clone()).strftime("%H:%M:%S").to_string()
}

/// A number of bytes, in units of 1024.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < units.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
}

/// A number with its noun: `1 node`, `2 nodes`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = match (number, noun) {
        (1, _) => return format!("1 {noun}"),
        (_, noun) if noun.ends_with("ch") => format!("{noun}es"),
        (_, noun) => format!("{noun}s"),
    };
    format!("{number} {plural}")
}

/// A part of a whole, in percent.
pub(crate) fn percent(part: Duration, whole: Duration) -> u128 {
    match whole.as_micros() {
        0 => 0,
        whole => (part.as_micros() * 100 + whole / 2) / whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_exact_as_people_want_them() {
        let cases = [
            (0, "0 ms"),
            (12, "12 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (59_999, "59.9 s"),
            (60_000, "1 min 0 s"),
            (3_661_000, "1 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ];
        for (millis, expected) in cases {
            assert_eq!(duration(Duration::from_millis(millis)), expected);
        }
        assert_eq!(in_units(0), "0 s");
    }

    #[test]
    fn moments_are_ages_for_people_and_times_in_pipes() {
        let (person, pipe) = (Screen::for_tests(80), Screen::pipe());
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (time, expected) in [
            ("2026-03-01T11:59:59Z", "now"),
            ("2026-03-01T11:59:00Z", "1 min ago"),
            ("2026-03-01T02:00:00Z", "10 h ago"),
            ("2026-02-01T00:00:00Z", "28 d ago"),
            ("2026-03-01T12:05:00Z", "in 5 min"),
        ] {
            assert_eq!(moment(at(time), &person), expected);
            assert_eq!(moment(at(time), &pipe), time);
        }
        assert_eq!(time(person.now, &person), "2026-03-01 12:00:00 UTC");
        assert_eq!(clock(person.now, &person), "12:00:00");
    }

    #[test]
    fn sizes_and_counts_have_their_units() {
        for (number, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(number), expected);
        }
        assert_eq!(
            (count(1, "node"), count(0, "dispatch")),
            ("1 node".into(), "0 dispatches".into())
        );
        assert_eq!(percent(Duration::from_secs(1), Duration::from_secs(3)), 33);
        assert_eq!(percent(Duration::ZERO, Duration::ZERO), 0);
    }
}
