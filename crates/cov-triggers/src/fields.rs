//! Reads the dictionary of a trigger field by field. Strict: a field of the wrong type is an
//! error that names it. Knows no trigger type.

use std::time::Duration;

use cov_core::trigger::Dictionary;
use serde_json::{Number, Value};

use crate::{Base, Error};

/// The longest time that a field in seconds may say: ten thousand years.
const SECONDS_MAX: f64 = 10_000.0 * 366.0 * 86_400.0;

/// A dictionary that is being read: each field is taken out once, what nobody takes is kept as
/// an extra.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields {
    name: String,
    rest: Dictionary,
}

impl Fields {
    /// Begins to read a dictionary: takes its `name`, the class name.
    ///
    /// # Errors
    /// There is no `name`, or it is no text.
    pub fn new(mut dictionary: Dictionary) -> Result<Self, Error> {
        match dictionary.remove("name") {
            Some(Value::String(name)) if !name.is_empty() => Ok(Self { name, rest: dictionary }),
            Some(other) => Err(field_error(
                "trigger",
                "name",
                format!("has to be a class name, and is {}", shown(&other)),
            )),
            None => Err(field_error("trigger", "name", "is missing: a class name".to_owned())),
        }
    }

    /// Reads fields that have no class name of their own; `name` is what errors say instead.
    #[must_use]
    pub fn named(name: &str, fields: Dictionary) -> Self {
        Self { name: name.to_owned(), rest: fields }
    }

    /// The class name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An error about one field of this trigger: `reason` reads on after the field's name, like
    /// `has to be above 0, and is -1`.
    #[must_use]
    pub fn error(&self, field: &str, reason: impl Into<String>) -> Error {
        field_error(&self.name, field, reason.into())
    }

    /// Takes a field as it is; `None` when it is missing.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.rest.remove(field)
    }

    /// Takes a field out of those that are there and not `null`.
    pub fn take_set(&mut self, field: &str) -> Option<Value> {
        self.rest.remove(field).filter(|value| !value.is_null())
    }

    /// Looks at a field without taking it.
    #[must_use]
    pub fn peek(&self, field: &str) -> Option<&Value> {
        self.rest.get(field)
    }

    /// Takes a text that has to be there.
    ///
    /// # Errors
    /// It is missing, or no text.
    pub fn text(&mut self, field: &str) -> Result<String, Error> {
        let text = self.optional_text(field)?;
        text.ok_or_else(|| self.error(field, "is missing: a text"))
    }

    /// Takes a text; `None` when it is missing or `null`.
    ///
    /// # Errors
    /// It is no text.
    pub fn optional_text(&mut self, field: &str) -> Result<Option<String>, Error> {
        match self.take_set(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, "a text", &other)),
        }
    }

    /// Takes a list of texts; `None` when it is missing or `null`. A single text is a list of one.
    ///
    /// # Errors
    /// It is neither a text nor a list of texts.
    pub fn optional_texts(&mut self, field: &str) -> Result<Option<Vec<String>>, Error> {
        let value = match self.take_set(field) {
            None => return Ok(None),
            Some(Value::String(text)) => return Ok(Some(vec![text])),
            Some(value) => value,
        };
        let texts = value.as_array().and_then(|items| {
            items.iter().map(|item| item.as_str().map(ToOwned::to_owned)).collect()
        });
        texts.map(Some).ok_or_else(|| self.wrong(field, "a text or a list of texts", &value))
    }

    /// Takes a list of texts that has to be there. A single text is a list of one.
    ///
    /// # Errors
    /// It is missing, or neither a text nor a list of texts.
    pub fn texts(&mut self, field: &str) -> Result<Vec<String>, Error> {
        let texts = self.optional_texts(field)?;
        texts.ok_or_else(|| self.error(field, "is missing: a text or a list of texts"))
    }

    /// Takes a yes or no; `default` when it is missing.
    ///
    /// # Errors
    /// It is neither `true` nor `false`.
    pub fn flag(&mut self, field: &str, default: bool) -> Result<bool, Error> {
        match self.take(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.wrong(field, "true or false", &other)),
        }
    }

    /// Takes a whole number of at least 1; `default` when it is missing.
    ///
    /// # Errors
    /// It is no whole number between 1 and 2^32 - 1.
    pub fn count(&mut self, field: &str, default: u32) -> Result<u32, Error> {
        let Some(value) = self.take(field) else {
            return Ok(default);
        };
        let whole = value.as_u64().or_else(|| whole_float(&value));
        match whole.map(u32::try_from) {
            Some(Ok(count)) if count > 0 => Ok(count),
            _ => Err(self.wrong(field, "a whole number of at least 1", &value)),
        }
    }

    /// Takes a time in seconds that has to be there; fractions are allowed.
    ///
    /// # Errors
    /// It is missing, no number, or not above 0.
    pub fn seconds(&mut self, field: &str) -> Result<Seconds, Error> {
        let seconds = self.optional_seconds(field)?;
        seconds.ok_or_else(|| self.error(field, "is missing: a number of seconds above 0"))
    }

    /// Takes a time in seconds; `None` when it is missing or `null`.
    ///
    /// # Errors
    /// It is no number, or not above 0.
    pub fn optional_seconds(&mut self, field: &str) -> Result<Option<Seconds>, Error> {
        let Some(value) = self.take_set(field) else {
            return Ok(None);
        };
        let seconds = value.as_number().cloned().and_then(Seconds::new);
        let wrong = || self.wrong(field, "a number of seconds above 0", &value);
        seconds.map(Some).ok_or_else(wrong)
    }

    /// Takes one word out of a list of known ones; `None` when it is missing or `null`.
    ///
    /// # Errors
    /// It is none of `known`, which the error lists.
    pub fn choice<T: Copy>(
        &mut self,
        field: &str,
        known: &[(&'static str, T)],
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.take_set(field) else {
            return Ok(None);
        };
        let chosen = known.iter().find(|(word, _)| value.as_str() == Some(word));
        if let Some((_, choice)) = chosen {
            return Ok(Some(*choice));
        }
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        Err(self.wrong(field, &format!("one of {}", words.join(", ")), &value))
    }

    /// Takes a field that a dictionary holds only as `null`, like the seed's `event_loop`.
    ///
    /// # Errors
    /// It is something else.
    pub fn null(&mut self, field: &str) -> Result<(), Error> {
        match self.take_set(field) {
            None => Ok(()),
            Some(other) => Err(self.wrong(field, "null", &other)),
        }
    }

    /// Takes the attributes that all triggers have into `base`; those that are missing stay as
    /// they are there. What is left afterwards belongs to nobody: [`Fields::rest`].
    ///
    /// # Errors
    /// One of them has the wrong type; the error names it.
    pub fn read_base(&mut self, base: &mut Base) -> Result<(), Error> {
        self.null("event_loop")?;
        self.null("stop_flag")?;
        if let Some(text) = self.optional_text("lattice_dispatch_id")? {
            base.lattice_dispatch_id = Some(self.dispatch_id("lattice_dispatch_id", &text)?);
        }
        if let Some(made) = self.optional_texts("new_dispatch_ids")? {
            let ids = made.iter().map(|text| self.dispatch_id("new_dispatch_ids", text));
            base.new_dispatch_ids = ids.collect::<Result<_, _>>()?;
        }
        base.dispatcher_addr = self.optional_text("dispatcher_addr")?;
        base.triggers_server_addr = self.optional_text("triggers_server_addr")?;
        base.observe_blocks = self.flag("observe_blocks", base.observe_blocks)?;
        base.use_internal_funcs = self.flag("use_internal_funcs", base.use_internal_funcs)?;
        Ok(())
    }

    /// The fields that nobody took.
    #[must_use]
    pub fn rest(self) -> Dictionary {
        self.rest
    }

    fn dispatch_id(&self, field: &str, text: &str) -> Result<cov_core::ids::DispatchId, Error> {
        text.parse().map_err(|source: cov_core::ids::IdError| {
            self.error(field, format!("is wrong: {source}"))
        })
    }

    fn wrong(&self, field: &str, expected: &str, value: &Value) -> Error {
        self.error(field, format!("has to be {expected}, and is {}", shown(value)))
    }
}

/// A time in seconds as a dictionary holds it: `2`, `2.0` and `0.5` are written as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seconds(Number);

impl Seconds {
    /// A time; `None` unless it is above 0 and below ten thousand years.
    #[must_use]
    pub fn new(number: Number) -> Option<Self> {
        let seconds = number.as_f64()?;
        let possible = (0.000_001..=SECONDS_MAX).contains(&seconds);
        possible.then_some(Self(number))
    }

    /// The time as a duration, to the microsecond.
    #[must_use]
    pub fn duration(&self) -> Duration {
        let exact = Duration::try_from_secs_f64(self.0.as_f64().unwrap_or(0.0));
        let micros = exact.unwrap_or(Duration::MAX).as_nanos().div_ceil(1_000);
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// As it stands in a dictionary.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Number(self.0.clone())
    }
}

impl From<Duration> for Seconds {
    /// Whole seconds are written as a whole number.
    fn from(duration: Duration) -> Self {
        let duration = duration.max(Duration::from_micros(1));
        let whole = Number::from(duration.as_secs());
        if duration.subsec_nanos() == 0 {
            return Self(whole);
        }
        Self(Number::from_f64(duration.as_secs_f64()).unwrap_or(whole))
    }
}

/// Python writes a whole number of seconds or rows as `2.0` where somebody computed it.
fn whole_float(value: &Value) -> Option<u64> {
    let float = value.as_f64().filter(|float| float.fract() == 0.0)?;
    let in_range = (0.0..=f64::from(u32::MAX)).contains(&float);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the line above checked that it is a whole number of 32 bits"
    )]
    in_range.then_some(float as u64)
}

fn field_error(trigger: &str, field: &str, reason: String) -> Error {
    Error::Field { trigger: trigger.to_owned(), field: field.to_owned(), reason }
}

/// A value for an error message: short, and without the inside of lists and dictionaries.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("`{}`", text.chars().take(80).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a dictionary".to_owned(),
    }
}

#[cfg(test)]
mod tests;
