//! What the function asset of a command says: the words of the command line, its environment,
//! where its output is found. Describes; runs nothing and touches no file.

mod fill;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::fill::Values;

/// The short name of the executor that runs commands.
pub const EXECUTOR: &str = "command";

/// What a node of a command workflow does.
///
/// ```
/// use cov_core::command::{Command, Input, Part, Template, Work};
/// let count = Template::Parts(vec![Part::Input(Input::line(0))]);
/// let argv = vec![Template::from("seq"), count];
/// let work = Work::Command(Command { argv, ..Command::default() });
/// let text = serde_json::to_string(&work)?;
/// assert_eq!(text, r#"{"command":{"argv":["seq",[{"input":0}]]}}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// It runs a command.
    Command(Command),
    /// It puts the values that reach it together, and runs nothing.
    Collect(Collect),
}

/// A command. Every argument of its node is one value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments. A template that gives several words gives several of them.
    pub argv: Vec<Template>,
    /// Variables beside those that the server has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Template>,
    /// The folder to run in; a scratch folder of the attempt, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// What it reads; nothing, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Template>,
    /// Where its output is.
    #[serde(default, skip_serializing_if = "Output::is_stdout")]
    pub output: Output,
    /// The exit codes that mean success; 0 alone, if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub success: Vec<i32>,
}

/// Where the output of a command is found when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// What it printed.
    #[default]
    Stdout,
    /// A file, by its path below the folder that it runs in.
    File(String),
}

impl Output {
    fn is_stdout(&self) -> bool {
        *self == Self::Stdout
    }
}

/// A text with places for values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Template {
    /// A text without any.
    Text(String),
    /// Its parts, in order.
    Parts(Vec<Part>),
}

impl From<&str> for Template {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Part {
    /// A text.
    Text(String),
    /// What stands for values.
    Input(Input),
}

/// The values that a part stands for, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The first of them, by its place among the arguments.
    pub input: u32,
    /// How many.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u32,
    /// How they are put in.
    #[serde(default, rename = "as", skip_serializing_if = "Form::is_line")]
    pub form: Form,
    /// What keeps a shell from reading them as anything but text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<Quote>,
    /// The name of the file that a value is put into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "this is how serde calls it")]
fn is_one(count: &u32) -> bool {
    *count == 1
}

impl Input {
    /// One value, as a line.
    #[must_use]
    pub fn line(input: u32) -> Self {
        Self { input, count: 1, form: Form::Line, quote: None, name: None }
    }
}

/// How values are put into a template. Text is text; a value that is none is put in as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Without newlines at their ends, joined by newlines.
    #[default]
    Line,
    /// As they are; each of several ends with a newline.
    Text,
    /// The path of one file that holds them, as `Text` does.
    File,
    /// The paths of one file each. They are words of their own.
    Files,
}

impl Form {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "this is how serde calls it")]
    fn is_line(&self) -> bool {
        *self == Self::Line
    }
}

/// Where in a line of a POSIX shell a text is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quote {
    /// Outside of all quotes.
    Bare,
    /// Within single quotes.
    Single,
    /// Within double quotes.
    Double,
}

impl Quote {
    /// The text as the shell has to see it, so that it takes every character for itself.
    ///
    /// ```
    /// use cov_core::command::Quote;
    /// assert_eq!(Quote::Bare.apply("it's"), r"'it'\''s'");
    /// assert_eq!(Quote::Single.apply("it's"), r"it'\''s");
    /// assert_eq!(Quote::Double.apply("$(date)"), r"\$(date)");
    /// assert_eq!(Quote::Bare.apply("data/a.csv"), "data/a.csv");
    /// ```
    #[must_use]
    pub fn apply(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Bare if is_plain_word(text) => Cow::Borrowed(text),
            Self::Bare => Cow::Owned(format!("'{}'", text.replace('\'', r"'\''"))),
            Self::Single => Cow::Owned(text.replace('\'', r"'\''")),
            Self::Double => {
                let mut quoted = String::with_capacity(text.len());
                for letter in text.chars() {
                    if matches!(letter, '"' | '\\' | '$' | '`') {
                        quoted.push('\\');
                    }
                    quoted.push(letter);
                }
                Cow::Owned(quoted)
            }
        }
    }
}

fn is_plain_word(text: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:,+@%".contains(letter);
    !text.is_empty() && text.chars().all(is_plain)
}

/// What becomes of the values that reach a node which runs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Collect {
    /// All values are a list, in JSON.
    List,
    /// They are a map, in JSON: each name takes the next value, or so many in a list.
    Map(Vec<(String, Option<u32>)>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_read_as_they_are_written() {
        let text = r#"{"command":{"argv":["cut",["-f",{"input":0}]],"env":{"A":"b"},"stdin":[{"input":1,"count":3,"as":"text"}],"output":{"file":"out"},"success":[0,1]}}"#;
        let work: Work = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&work).unwrap(), text);
        let text = r#"{"collect":{"map":[["a",null],["b",2]]}}"#;
        let work: Work = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&work).unwrap(), text);
    }

    #[test]
    fn every_quote_gives_back_what_it_was_given() {
        for text in ["", "a b", "it's", "\"", "$HOME `id` $(id) \\ ! * ~ # \n;&|", "-n", "ä"] {
            let lines = [
                Quote::Bare.apply(text).into_owned(),
                format!("'{}'", Quote::Single.apply(text)),
                format!("\"{}\"", Quote::Double.apply(text)),
            ];
            for line in lines {
                assert_eq!(read_back(&line), text, "{line}");
            }
        }
    }

    /// What a POSIX shell makes of one quoted word: the three rules of its grammar that matter.
    fn read_back(line: &str) -> String {
        let mut letters = line.chars();
        let (mut text, mut quote) = (String::new(), None);
        while let Some(letter) = letters.next() {
            match (quote, letter) {
                (None, '\'' | '"') => quote = Some(letter),
                (Some(open), _) if open == letter => quote = None,
                (None | Some('"'), '\\') => text.extend(letters.next()),
                (None, _) if !is_plain_word(&letter.to_string()) && letter != 'ä' => {
                    panic!("the shell reads {letter:?} in {line}")
                }
                (Some('"'), '$' | '`') => panic!("the shell reads {letter:?} in {line}"),
                _ => text.push(letter),
            }
        }
        assert_eq!(quote, None, "{line}");
        text
    }
}
