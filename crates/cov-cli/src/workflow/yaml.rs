//! YAML 1.2 to a document with places. Aliases are taken at their word, within limits; tags and
//! further documents are refused.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::fault::{Fault, Span};
use super::tree::{DEPTH_MAX, Entry, Node, VALUES_MAX, Value, finite, too_deep, too_many};

/// Most members of one table.
const MEMBERS_MAX: usize = 10_000;

/// Reads a document.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Fault>> {
    let places = Places::of(text);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| vec![not_yaml(&places, &error)])?;
        let span = places.span(span.start.index(), span.end.index());
        builder.take(event, span).map_err(|fault| vec![fault])?;
    }
    let empty = Node { span: Span::new(0, text.len()), value: Value::Table(Vec::new()) };
    let mut root = builder.root.unwrap_or(empty);
    if matches!(root.value, Value::Null) {
        root.value = Value::Table(Vec::new());
    }
    Ok(root)
}

fn not_yaml(places: &Places, error: &ScanError) -> Fault {
    let at = error.marker().index();
    Fault::new(places.span(at, at), format!("this is no YAML: {}", error.info()))
}

/// From characters, which the parser counts, to bytes.
struct Places {
    /// The byte at which each character begins; `None` when characters are bytes.
    bytes: Option<Vec<usize>>,
    length: usize,
}

impl Places {
    fn of(text: &str) -> Self {
        let bytes = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Self { bytes, length: text.len() }
    }

    fn byte(&self, character: usize) -> usize {
        match &self.bytes {
            None => character.min(self.length),
            Some(bytes) => bytes.get(character).copied().unwrap_or(self.length),
        }
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.byte(start), self.byte(end))
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    values: usize,
    root: Option<Node>,
    documents: usize,
}

/// A list or table whose end has not come.
struct Open {
    span: Span,
    anchor: usize,
    /// Values that there were before it.
    before: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Table(Vec<Entry>, Option<(String, Span)>),
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                match self.documents {
                    1 => Ok(()),
                    _ => Err(Fault::new(span, "a workflow file has one document only")
                        .help("put each workflow into a file of its own")),
                }
            }
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                no_tag(tag.is_some(), span)?;
                let value = scalar(&text, style, span)?;
                // A long text counts for more: an alias repeats it.
                let weight = 1 + text.len() / 16;
                self.values += weight;
                self.put(Node { span, value }, anchor, weight)
            }
            Event::SequenceStart(anchor, tag) => {
                no_tag(tag.is_some(), span)?;
                self.begin(span, anchor, Kind::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                no_tag(tag.is_some(), span)?;
                self.begin(span, anchor, Kind::Table(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
        }
    }

    fn begin(&mut self, span: Span, anchor: usize, kind: Kind) -> Result<(), Fault> {
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(span));
        }
        self.open.push(Open { span, anchor, before: self.values, kind });
        self.values += 1;
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.kind {
            Kind::List(items) => Value::List(items),
            Kind::Table(entries, _) => Value::Table(entries),
        };
        let node = Node { span: Span::new(open.span.start, span.end), value };
        self.put(node, open.anchor, self.values - open.before)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Fault> {
        let Some((node, values)) = self.anchors.get(&anchor).cloned() else {
            return Err(Fault::new(span, "this alias names no anchor before it"));
        };
        self.values += values;
        if depth(&node) + self.open.len() > DEPTH_MAX {
            return Err(too_deep(span));
        }
        self.put(Node { span, ..node }, 0, values)
    }

    fn put(&mut self, node: Node, anchor: usize, values: usize) -> Result<(), Fault> {
        if self.values > VALUES_MAX {
            return Err(too_many(node.span));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), values));
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(Kind::List(items)) => items.push(node),
            Some(Kind::Table(entries, waiting)) => match waiting.take() {
                None => *waiting = Some(key(&node)?),
                Some((key, key_span)) => {
                    if entries.len() >= MEMBERS_MAX {
                        return Err(too_many(key_span));
                    }
                    if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                        return Err(Fault::new(key_span, format!("`{key}` is given twice"))
                            .label("again here")
                            .also(first.key_span, "first here"));
                    }
                    entries.push(Entry { key, key_span, node });
                }
            },
        }
        Ok(())
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Table(entries) => 1 + entries.iter().map(|e| depth(&e.node)).max().unwrap_or(0),
        _ => 0,
    }
}

fn no_tag(is_tagged: bool, span: Span) -> Result<(), Fault> {
    match is_tagged {
        true => Err(Fault::new(span, "tags have no meaning here")
            .help("leave out what begins with `!`; put quotes around what shall be text")),
        false => Ok(()),
    }
}

fn key(node: &Node) -> Result<(String, Span), Fault> {
    match &node.value {
        Value::Text(text) => Ok((text.clone(), node.span)),
        Value::Int(number) => Ok((number.to_string(), node.span)),
        Value::Bool(value) => Ok((value.to_string(), node.span)),
        Value::Null | Value::Float(_) | Value::List(_) | Value::Table(_) => {
            Err(Fault::new(node.span, format!("a key has to be a text; this is {}", node.kind())))
        }
    }
}

/// By the rules of YAML's core schema.
fn scalar(text: &str, style: ScalarStyle, span: Span) -> Result<Value, Fault> {
    if style != ScalarStyle::Plain {
        return Ok(Value::Text(text.to_owned()));
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        ".inf" | "-.inf" | ".nan" | ".NaN" | ".Inf" => return finite(f64::NAN, span),
        _ => {}
    }
    if let Some(number) = integer(text) {
        return match number {
            Ok(number) => Ok(Value::Int(number)),
            Err(_) => Err(Fault::new(span, "the number is too large for 64 bits")
                .help("put quotes around it if it shall be text")),
        };
    }
    match is_float(text).then(|| text.parse()) {
        Some(Ok(number)) => finite(number, span),
        Some(Err(_)) | None => Ok(Value::Text(text.to_owned())),
    }
}

/// The integer that a text stands for; `None` when it stands for none.
fn integer(text: &str) -> Option<Result<i64, std::num::ParseIntError>> {
    let of_digits = |digits: &str, radix: u32| {
        let all = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        all.then(|| i64::from_str_radix(digits, radix))
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return of_digits(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return of_digits(digits, 8);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    of_digits(digits, 10).map(|_| text.parse())
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let has_digit = mantissa.contains(|letter: char| letter.is_ascii_digit());
    let is_digits = |text: &str| text.chars().all(|letter| letter.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.map(|text| text.strip_prefix(['-', '+']).unwrap_or(text));
    has_digit
        && is_digits(whole)
        && is_digits(fraction)
        && exponent.is_none_or(|digits| !digits.is_empty() && is_digits(digits))
}
