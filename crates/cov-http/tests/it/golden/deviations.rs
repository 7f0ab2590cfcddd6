//! Where our answers differ from the recorded ones, and why. An entry that fits no difference of
//! a folder that it names is a failure too: the table says what is so, not what was.

use super::compare::Difference;

struct Deviation {
    /// Folders in which it shows.
    folders: &'static [&'static str],
    /// Place, recorded and answered; `*` stands for any text.
    place: &'static str,
    recorded: &'static str,
    answered: &'static str,
    reason: &'static str,
}

const DEVIATIONS: &[Deviation] = &[];

/// Fails with every difference that is not in the table, and every entry that is not so.
pub(super) fn judge(folder: &str, differences: &[Difference]) {
    let entries: Vec<&Deviation> =
        DEVIATIONS.iter().filter(|entry| entry.folders.contains(&folder)).collect();
    let mut faults: Vec<String> = differences
        .iter()
        .filter(|difference| !entries.iter().any(|entry| entry.fits(difference)))
        .map(|found| {
            let Difference { exchange, place, recorded, answered } = found;
            format!("{folder}#{exchange} {place}: recorded {recorded}, answered {answered}")
        })
        .collect();
    let idle = entries.iter().filter(|entry| !differences.iter().any(|found| entry.fits(found)));
    faults.extend(idle.map(|entry| {
        format!("{folder}: no longer so: {} ({})", entry.place, entry.reason)
    }));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

impl Deviation {
    fn fits(&self, found: &Difference) -> bool {
        matches(self.place, &found.place)
            && matches(self.recorded, &found.recorded)
            && matches(self.answered, &found.answered)
    }
}

/// Whether `text` is `pattern`, where `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(end)
}

#[test]
fn a_star_stands_for_any_text() {
    for (pattern, text) in [("a", "a"), ("*", ""), ("a*", "ab"), ("*b", "ab"), ("a*c*e", "abcde")] {
        assert!(matches(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [("a", "ab"), ("a*", "b"), ("a*c*e", "abde"), ("*b", "abc")] {
        assert!(!matches(pattern, text), "{pattern} {text}");
    }
}
