//! TOML to a document with places.

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::fault::{Fault, Span};
use super::tree::{DEPTH_MAX, Entry, Node, Value, finite, too_deep};

/// Reads a document.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Fault>> {
    let table = DeTable::parse(text).map_err(|error| {
        let span =
            error.span().map_or_else(Span::default, |range| Span::new(range.start, range.end));
        vec![Fault::new(span, format!("this is no TOML: {}", error.message().replace('\n', ", ")))]
    })?;
    let span = Span::new(0, text.len());
    let value = convert_table(table.into_inner(), 0).map_err(|fault| vec![fault])?;
    Ok(Node { span, value })
}

fn place<T>(spanned: &Spanned<T>) -> Span {
    let range = spanned.span();
    Span::new(range.start, range.end)
}

fn convert_table(table: DeTable<'_>, depth: usize) -> Result<Value, Fault> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        let key_span = place(&key);
        let mut node = convert(value, depth + 1)?;
        if matches!(node.value, Value::Table(_)) && node.span.length() == 0 {
            node.span = key_span;
        }
        entries.push(Entry { key: key.into_inner().into_owned(), key_span, node });
    }
    entries.sort_by_key(|entry| entry.key_span.start);
    Ok(Value::Table(entries))
}

fn convert(node: Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Fault> {
    let span = place(&node);
    if depth > DEPTH_MAX {
        return Err(too_deep(span));
    }
    let value = match node.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Integer(number) => integer(&number, span)?,
        DeValue::Float(number) => match number.as_str().replace('_', "").parse() {
            Ok(number) => finite(number, span)?,
            Err(_) => return Err(Fault::new(span, "this is no number")),
        },
        DeValue::Datetime(moment) => Value::Text(moment.to_string()),
        DeValue::Array(items) => {
            let items = items.into_iter().map(|item| convert(item, depth + 1));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => convert_table(table, depth)?,
    };
    Ok(Node { span, value })
}

fn integer(number: &DeInteger<'_>, span: Span) -> Result<Value, Fault> {
    let digits = number.as_str().replace('_', "");
    i64::from_str_radix(&digits, number.radix())
        .map(Value::Int)
        .map_err(|_too_large| Fault::new(span, "the number is too large for 64 bits"))
}
