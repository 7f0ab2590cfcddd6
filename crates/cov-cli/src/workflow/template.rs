//! Texts with references: `${{ params.city }}`. Finds them and says what they refer to by name;
//! whether there is such a thing is known elsewhere.

use std::fmt;

use super::fault::{Fault, Span, did_you_mean};
use super::shell;

/// What a reference begins with.
const OPEN: &str = "${{";
/// What it ends with.
const CLOSE: &str = "}}";

/// Most references of one text.
const REFERENCES_MAX: usize = 1_000;

/// A text with references.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Template {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) span: Span,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Reference(Reference),
}

/// A reference, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) target: Target,
    pub(crate) span: Span,
    /// What a shell needs, if one reads the text.
    pub(crate) quote: Option<cov_core::command::Quote>,
}

/// What a reference names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A parameter of the workflow.
    Param(String),
    /// A variable of the task's matrix.
    Matrix(String),
    /// What the task is repeated for.
    Item(ItemPart),
    /// An input file of the task.
    Input(String, InputForm),
    /// What another task gave.
    Task(String, TaskForm),
    /// Something about the workflow itself.
    Workflow(WorkflowPart),
}

/// A part of an item; for a path, what its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ItemPart {
    Whole,
    Name,
    Stem,
    Extension,
    Folder,
}

/// How an input file is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum InputForm {
    Path,
    Text,
}

/// How what a task gave is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TaskForm {
    Output,
    File,
    Files,
}

/// What can be known of the workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum WorkflowPart {
    Name,
    Folder,
}

/// As it is written.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Param(name) => write!(f, "params.{name}"),
            Self::Matrix(name) => write!(f, "matrix.{name}"),
            Self::Item(ItemPart::Whole) => f.write_str("item"),
            Self::Item(part) => write!(f, "item.{}", called(&ITEM, *part)),
            Self::Input(name, form) => write!(f, "inputs.{name}.{}", called(&INPUT, *form)),
            Self::Task(name, form) => write!(f, "tasks.{name}.{}", called(&TASK, *form)),
            Self::Workflow(part) => write!(f, "workflow.{}", called(&WORKFLOW, *part)),
        }
    }
}

fn called<T: PartialEq>(known: &[(&'static str, T)], wanted: T) -> &'static str {
    known.iter().find(|(_, value)| *value == wanted).map_or("", |(name, _)| name)
}

const ROOTS: [&str; 6] = ["params", "matrix", "item", "inputs", "tasks", "workflow"];
const ITEM: [(&str, ItemPart); 4] = [
    ("name", ItemPart::Name),
    ("stem", ItemPart::Stem),
    ("ext", ItemPart::Extension),
    ("dir", ItemPart::Folder),
];
const INPUT: [(&str, InputForm); 2] = [("path", InputForm::Path), ("text", InputForm::Text)];
const TASK: [(&str, TaskForm); 3] =
    [("output", TaskForm::Output), ("file", TaskForm::File), ("files", TaskForm::Files)];
const WORKFLOW: [(&str, WorkflowPart); 2] =
    [("name", WorkflowPart::Name), ("dir", WorkflowPart::Folder)];

/// A text as it was read, and where it stands in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) text: &'a str,
    pub(crate) span: Span,
    /// The whole file.
    pub(crate) file: &'a str,
}

impl Written<'_> {
    /// Where the reference with this number stands. What was escaped or folded in the file makes
    /// bytes of the text stand elsewhere, but braces are never escaped.
    fn place(&self, number: usize, length: usize) -> Span {
        let raw = self.file.get(self.span.start..self.span.end).unwrap_or_default();
        match raw.match_indices(OPEN).nth(number) {
            Some((at, _)) => {
                let start = self.span.start + at;
                Span::new(start, (start + length).min(self.span.end))
            }
            None => self.span,
        }
    }
}

impl Template {
    /// Reads a text.
    pub(crate) fn parse(written: Written<'_>) -> Result<Self, Fault> {
        let mut pieces = Vec::new();
        let (mut rest, mut number, mut text) = (written.text, 0, String::new());
        while let Some(at) = rest.find(OPEN) {
            let (before, from) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                text.push_str(before);
                text.push_str(OPEN);
                rest = from.get(OPEN.len()..).unwrap_or_default();
                number += 1;
                continue;
            }
            text.push_str(before);
            let Some(end) = from.find(CLOSE) else {
                return Err(Fault::new(
                    written.place(number, OPEN.len()),
                    "this reference does not end",
                )
                .help(
                    "a reference is `${{ … }}`; write `$${{` for the three characters themselves",
                ));
            };
            let length = end + CLOSE.len();
            let span = written.place(number, length);
            let inner = from.get(OPEN.len()..end).unwrap_or_default().trim();
            let target = target(inner, span)?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Reference(Reference { target, span, quote: None }));
            rest = from.get(length..).unwrap_or_default();
            number += 1;
            if pieces.len() > REFERENCES_MAX {
                return Err(Fault::new(span, "one text has too many references"));
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self { pieces, span: written.span })
    }

    /// Reads a line that a shell will read: notes for each reference how it has to be quoted.
    pub(crate) fn parse_shell(written: Written<'_>) -> Result<Self, Fault> {
        let mut template = Self::parse(written)?;
        template.pieces = shell::quote(template.pieces)?;
        Ok(template)
    }

    pub(crate) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Reference(reference) => Some(reference),
        })
    }

    /// The reference, if the text is nothing but one.
    pub(crate) fn whole(&self) -> Option<&Reference> {
        match self.pieces.as_slice() {
            [Piece::Reference(reference)] => Some(reference),
            _ => None,
        }
    }
}

fn target(inner: &str, span: Span) -> Result<Target, Fault> {
    let words: Vec<&str> = inner.split('.').map(str::trim).collect();
    let is_word = |word: &&str| {
        let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
        !word.is_empty() && word.chars().all(is_letter)
    };
    if !words.iter().all(is_word) {
        return Err(Fault::new(span, format!("`{inner}` is no reference"))
            .help("a reference is names with dots between them, like `${{ params.city }}`"));
    }
    let owned = |name: &str| name.to_owned();
    match words.as_slice() {
        ["params", name] => Ok(Target::Param(owned(name))),
        ["matrix", name] => Ok(Target::Matrix(owned(name))),
        ["item"] => Ok(Target::Item(ItemPart::Whole)),
        ["item", part] => Ok(Target::Item(choose(&ITEM, part, span)?)),
        ["inputs", name] => Ok(Target::Input(owned(name), InputForm::Path)),
        ["inputs", name, form] => Ok(Target::Input(owned(name), choose(&INPUT, form, span)?)),
        ["tasks", name] => Ok(Target::Task(owned(name), TaskForm::Output)),
        ["tasks", name, form] => Ok(Target::Task(owned(name), choose(&TASK, form, span)?)),
        ["workflow", part] => Ok(Target::Workflow(choose(&WORKFLOW, part, span)?)),
        [root] | [root, ..] if ROOTS.contains(root) => {
            Err(Fault::new(span, format!("`{inner}` is no reference")).help(usage(root)))
        }
        [root, ..] => Err(Fault::new(span, format!("nothing is called `{root}`"))
            .help(did_you_mean(root, ROOTS, ""))),
        [] => Err(Fault::new(span, "the reference is empty")),
    }
}

fn choose<T: Copy>(known: &[(&str, T)], given: &str, span: Span) -> Result<T, Fault> {
    let found = known.iter().find(|(name, _)| *name == given);
    found.map(|(_, value)| *value).ok_or_else(|| {
        Fault::new(span, format!("there is no `{given}` here")).help(did_you_mean(
            given,
            known.iter().map(|(name, _)| *name),
            "",
        ))
    })
}

fn usage(root: &str) -> &'static str {
    match root {
        "params" => "name the parameter: `params.NAME`",
        "matrix" => "name the variable: `matrix.NAME`",
        "item" => "it is `item`, `item.name`, `item.stem`, `item.ext` or `item.dir`",
        "inputs" => "it is `inputs.NAME`, a path, or `inputs.NAME.text`",
        "tasks" => {
            "it is `tasks.NAME`, `tasks.NAME.output`, `tasks.NAME.file` or `tasks.NAME.files`"
        }
        _ => "it is `workflow.name` or `workflow.dir`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template, Fault> {
        Template::parse(Written { text, span: Span::new(0, text.len()), file: text })
    }

    fn targets(text: &str) -> Vec<Target> {
        parse(text).unwrap().references().map(|reference| reference.target.clone()).collect()
    }

    #[test]
    fn references_are_found_with_their_places() {
        let template = parse("a ${{ params.x }} b ${{item.stem}}").unwrap();
        let spans: Vec<_> = template.references().map(|reference| reference.span).collect();
        assert_eq!(spans, [Span::new(2, 17), Span::new(20, 34)]);
        assert_eq!(
            targets("${{ tasks.a }}${{ tasks.b.files }}${{ workflow.dir }}"),
            [
                Target::Task("a".into(), TaskForm::Output),
                Target::Task("b".into(), TaskForm::Files),
                Target::Workflow(WorkflowPart::Folder),
            ]
        );
        assert!(parse("${{ item }}").unwrap().whole().is_some());
        assert!(parse("${{ item }} ").unwrap().whole().is_none());
    }

    #[test]
    fn the_braces_can_be_meant_as_such() {
        let template = parse("$${{ x }} ${y} {{ z }} ${{ item }}").unwrap();
        assert_eq!(template.pieces.first(), Some(&Piece::Text("${{ x }} ${y} {{ z }} ".into())));
        assert_eq!(template.references().next().unwrap().span, Span::new(23, 34));
    }

    #[test]
    fn what_is_no_reference_is_refused_with_a_hint() {
        for (text, said) in [
            ("${{ item", "does not end"),
            ("${{ }}", "is no reference"),
            ("${{ params }}", "is no reference"),
            ("${{ parms.x }}", "nothing is called `parms`"),
            ("${{ item.nme }}", "no `nme`"),
            ("${{ a + b }}", "is no reference"),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.to_string().contains(said), "{text}: {fault}");
        }
    }
}
