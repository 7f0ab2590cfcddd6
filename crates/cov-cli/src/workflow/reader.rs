//! Reads values out of a document, and gathers what is wrong with it: one pass tells all faults.

use std::time::Duration;

use super::fault::{Fault, Span, did_you_mean};
use super::keys::Key;
use super::model::{Name, Scalar};
use super::template::{Template, Written};
use super::tree::{Entry, Node, Value};

/// Gathers faults.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) file: &'a str,
    pub(crate) faults: Vec<Fault>,
}

/// The members of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) entries: &'a [Entry],
}

impl<'a> Table<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn fail(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    fn expected<T>(&mut self, node: &Node, wanted: &str) -> Option<T> {
        let message = format!("this has to be {wanted}; it is {}", node.kind());
        self.fail(Fault::new(node.span, message));
        None
    }

    /// A table with some of these keys.
    pub(crate) fn table<'n>(
        &mut self,
        node: &'n Node,
        keys: &[Key],
        of: &str,
    ) -> Option<Table<'n>> {
        let entries = self.entries(node)?;
        for entry in entries {
            if !keys.iter().any(|key| key.name == entry.key) {
                let known = keys.iter().map(|key| key.name);
                self.fail(
                    Fault::new(entry.key_span, format!("{of} has no `{}`", entry.key))
                        .label("not known")
                        .help(did_you_mean(&entry.key, known, "")),
                );
            }
        }
        Some(Table { entries })
    }

    /// A table with any keys.
    pub(crate) fn entries<'n>(&mut self, node: &'n Node) -> Option<&'n [Entry]> {
        match &node.value {
            Value::Table(entries) => Some(entries),
            // What YAML makes of a key with nothing behind it.
            Value::Null => Some(&[]),
            _ => self.expected(node, "a table"),
        }
    }

    pub(crate) fn text(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => self.expected(node, "a text"),
        }
    }

    pub(crate) fn flag(&mut self, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Bool(value) => Some(*value),
            _ => self.expected(node, "true or false"),
        }
    }

    pub(crate) fn list<'n>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            _ => self.expected(node, "a list"),
        }
    }

    /// A number of these bounds.
    pub(crate) fn integer<T: TryFrom<i64>>(&mut self, node: &Node, max: i64) -> Option<T> {
        let wanted = format!("a whole number from 0 to {max}");
        match &node.value {
            Value::Int(number) if (0..=max).contains(number) => T::try_from(*number).ok(),
            Value::Int(_) => {
                self.fail(Fault::new(node.span, format!("this has to be {wanted}")));
                None
            }
            _ => self.expected(node, &wanted),
        }
    }

    pub(crate) fn choice(&mut self, node: &Node, known: &[&'static str]) -> Option<&'static str> {
        let text = self.text(node)?;
        let found = known.iter().find(|name| **name == text).copied();
        if found.is_none() {
            let help = did_you_mean(&text, known.iter().copied(), "");
            self.fail(Fault::new(node.span, format!("`{text}` is not known here")).help(help));
        }
        found
    }

    /// A value without parts, and without references.
    pub(crate) fn scalar(&mut self, node: &Node) -> Option<Scalar> {
        let scalar = Scalar::of(node);
        match &scalar {
            None => self.expected(node, "a text, a number, true or false"),
            Some(Scalar::Text(text)) if text.contains("${{") => {
                self.fail(Fault::new(node.span, "nothing can be referred to here"));
                None
            }
            Some(_) => scalar,
        }
    }

    pub(crate) fn scalars(&mut self, node: &Node) -> Option<Vec<Scalar>> {
        let items = self.list(node)?;
        let scalars: Vec<Scalar> = items.iter().filter_map(|item| self.scalar(item)).collect();
        if items.is_empty() {
            self.fail(Fault::new(node.span, "the list is empty").help("give at least one value"));
        }
        (scalars.len() == items.len() && !items.is_empty()).then_some(scalars)
    }

    /// A text with references; numbers and truth values are taken as text.
    pub(crate) fn template(&mut self, node: &Node) -> Option<Template> {
        let text = self.any_text(node)?;
        let written = Written { text: &text, span: node.span, file: self.file };
        self.keep(Template::parse(written))
    }

    /// As [`Reader::template`], for a text that a shell will read.
    pub(crate) fn shell_template(&mut self, node: &Node) -> Option<Template> {
        let text = self.any_text(node)?;
        let written = Written { text: &text, span: node.span, file: self.file };
        self.keep(Template::parse_shell(written))
    }

    fn any_text(&mut self, node: &Node) -> Option<String> {
        let Some(scalar) = Scalar::of(node) else {
            return self.expected(node, "a text");
        };
        let text = scalar.text();
        if text.contains('\0') {
            self.fail(Fault::new(
                node.span,
                "this holds a NUL byte, which no command can be given",
            ));
            return None;
        }
        Some(text)
    }

    fn keep<T>(&mut self, read: Result<T, Fault>) -> Option<T> {
        read.map_err(|fault| self.fail(fault)).ok()
    }

    /// One name, or a list of them.
    pub(crate) fn names(&mut self, node: &Node) -> Vec<Name> {
        let nodes = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        nodes.iter().filter_map(|node| self.name(node)).collect()
    }

    pub(crate) fn name(&mut self, node: &Node) -> Option<Name> {
        self.text(node).map(|text| Name { text, span: node.span })
    }

    /// A number of seconds, or a text like `1h30m`. Longer than nothing.
    pub(crate) fn duration(&mut self, node: &Node) -> Option<Duration> {
        let read = match &node.value {
            Value::Int(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
            Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            Value::Text(text) => read_duration(text),
            _ => return self.expected(node, "a time, like `90s` or `1h30m`"),
        };
        let read = read.filter(|time| !time.is_zero() && *time <= DURATION_MAX);
        if read.is_none() {
            self.fail(
                Fault::new(node.span, "this is no time").help(
                    "give seconds, or numbers with units: `500ms`, `90s`, `15m`, `1h30m`, `2d`",
                ),
            );
        }
        read
    }

    /// Whether a task, a parameter or a variable can be called so.
    pub(crate) fn check_name(&mut self, name: &str, span: Span, what: &str) -> bool {
        let mut letters = name.chars();
        let first =
            letters.next().is_some_and(|letter| letter.is_ascii_alphabetic() || letter == '_');
        let rest = letters.all(|letter| letter.is_ascii_alphanumeric() || "_-".contains(letter));
        let is_name = first && rest && name.len() <= NAME_BYTES_MAX;
        if !is_name {
            self.fail(Fault::new(span, format!("{what} cannot be called `{name}`")).help(format!(
                "names begin with a letter and go on with letters, digits, `_` and `-`, up to {NAME_BYTES_MAX}"
            )));
        }
        is_name
    }
}

/// The longest time that can be given.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

const NAME_BYTES_MAX: usize = 100;

/// Numbers with units, from the largest to the smallest.
fn read_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 6] =
        [("ms", 0.001), ("min", 60.0), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(digits);
        let (unit, factor) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after.get(unit.len()..)?.trim_start();
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let seconds = |text| read_duration(text).map(|time| time.as_secs_f64());
        assert_eq!(seconds("90s"), Some(90.0));
        assert_eq!(seconds("1h30m"), Some(5_400.0));
        assert_eq!(seconds("1h 30min"), Some(5_400.0));
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds("1.5d"), Some(129_600.0));
        for refused in ["", "90", "s", "1w", "1..2s", "-1s", "1s2"] {
            assert_eq!(seconds(refused), None, "{refused}");
        }
    }
}
