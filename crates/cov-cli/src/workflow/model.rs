//! A workflow as its file says it, checked: every name that is referred to exists. Holds no
//! values of parameters and no files; those come with the plan.

use std::collections::BTreeMap;
use std::time::Duration;

use super::engines::Engine;
use super::fault::Span;
use super::template::{Target, Template};
use super::tree::{Node, Value};

/// A name and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// A workflow file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) params: Vec<Param>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) outputs: Option<Outputs>,
    pub(crate) triggers: Vec<Trigger>,
}

/// A parameter of the workflow.
#[derive(Debug, Clone)]
pub(crate) struct Param {
    pub(crate) name: Name,
    /// What it is when nothing else is said.
    pub(crate) default: Option<Setting>,
    pub(crate) choices: Vec<Scalar>,
    pub(crate) description: Option<String>,
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Setting {
    One(Scalar),
    Many(Vec<Scalar>),
}

impl Setting {
    pub(crate) fn scalars(&self) -> &[Scalar] {
        match self {
            Self::One(scalar) => std::slice::from_ref(scalar),
            Self::Many(scalars) => scalars,
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::One(scalar) => scalar.to_json(),
            Self::Many(scalars) => scalars.iter().map(Scalar::to_json).collect(),
        }
    }
}

/// A value without parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Scalar {
    pub(crate) fn of(node: &Node) -> Option<Self> {
        match &node.value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Int(value) => Some(Self::Int(*value)),
            Value::Float(value) => Some(Self::Float(*value)),
            Value::Text(text) => Some(Self::Text(text.clone())),
            Value::Null | Value::List(_) | Value::Table(_) => None,
        }
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(text) => text.clone(),
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Float(value) => (*value).into(),
            Self::Text(text) => text.as_str().into(),
        }
    }
}

/// A task, with what the defaults say of it.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) name: Name,
    pub(crate) action: Action,
    pub(crate) env: BTreeMap<String, Template>,
    pub(crate) workdir: Option<Template>,
    pub(crate) stdin: Option<Template>,
    pub(crate) needs: Vec<Name>,
    pub(crate) inputs: Vec<(Name, Template)>,
    pub(crate) retries: Option<u32>,
    pub(crate) time_limit: Option<Duration>,
    /// Where it runs, if not on the server's own slots.
    pub(crate) on: Option<Engine>,
    pub(crate) success: Vec<i32>,
    /// Where its output is; what it prints, if nothing is said.
    pub(crate) output: Option<Template>,
    pub(crate) matrix: Vec<(Name, Axis)>,
    pub(crate) foreach: Option<(Foreach, Span)>,
}

/// What a task does.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// It runs a program with these words.
    Words(Vec<Template>),
    /// A shell reads this text.
    Shell { shell: Shell, script: Template },
    /// It calls a function.
    Python { function: String, args: Vec<Argument>, kwargs: Vec<(Name, Argument)> },
}

/// A shell that commands can be written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Shell {
    #[default]
    Sh,
    Bash,
}

impl Shell {
    /// The words before the text that it reads. Both stop at the first command that fails.
    pub(crate) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Sh => &["sh", "-e", "-c"],
            Self::Bash => &["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"],
        }
    }
}

/// An argument of a Python function.
#[derive(Debug, Clone)]
pub(crate) enum Argument {
    /// A value in which nothing is referred to.
    Plain(serde_json::Value),
    /// A text with references.
    Text(Template),
    List(Vec<Argument>),
    Table(Vec<(String, Argument)>),
}

impl Argument {
    pub(crate) fn templates<'a>(&'a self, found: &mut Vec<&'a Template>) {
        match self {
            Self::Plain(_) => {}
            Self::Text(template) => found.push(template),
            Self::List(items) => items.iter().for_each(|item| item.templates(found)),
            Self::Table(members) => members.iter().for_each(|(_, member)| member.templates(found)),
        }
    }
}

/// The values of a variable of a matrix.
#[derive(Debug, Clone)]
pub(crate) enum Axis {
    Values(Vec<Scalar>),
    /// Those of a parameter.
    Param(Name),
}

/// What a task is repeated for.
#[derive(Debug, Clone)]
pub(crate) enum Foreach {
    /// Files that match a pattern.
    Glob(Template),
    Values(Vec<Scalar>),
    /// The values of a parameter.
    Param(Name),
    /// The instances of another task.
    Task(Name),
}

/// What the workflow gives.
#[derive(Debug, Clone)]
pub(crate) enum Outputs {
    One(Name),
    Named(Vec<(String, Name)>),
}

/// When the workflow shall run by itself: a dictionary that the server knows.
#[derive(Debug, Clone)]
pub(crate) struct Trigger {
    pub(crate) dictionary: serde_json::Map<String, serde_json::Value>,
    /// The folder or file that it watches, which may be given relative to the file.
    pub(crate) folder: Option<String>,
}

impl Task {
    /// Every text of it that may hold references to what other tasks give.
    pub(crate) fn templates(&self) -> Vec<&Template> {
        let mut found = Vec::new();
        match &self.action {
            Action::Words(words) => found.extend(words),
            Action::Shell { script, .. } => found.push(script),
            Action::Python { args, kwargs, .. } => {
                args.iter().for_each(|argument| argument.templates(&mut found));
                kwargs.iter().for_each(|(_, argument)| argument.templates(&mut found));
            }
        }
        found.extend(self.env.values());
        found.extend(&self.stdin);
        found
    }

    /// Every text of it that has to be known before anything runs.
    pub(crate) fn fixed_templates(&self) -> Vec<&Template> {
        let mut found: Vec<&Template> = self.inputs.iter().map(|(_, path)| path).collect();
        found.extend(&self.workdir);
        found.extend(&self.output);
        if let Some((Foreach::Glob(pattern), _)) = &self.foreach {
            found.push(pattern);
        }
        found
    }

    /// The tasks that have to end before it, with the places that say so.
    pub(crate) fn parents(&self) -> Vec<(&str, Span)> {
        let mut found: Vec<(&str, Span)> =
            self.needs.iter().map(|name| (name.text.as_str(), name.span)).collect();
        if let Some((Foreach::Task(name), _)) = &self.foreach {
            found.push((&name.text, name.span));
        }
        for reference in self.templates().into_iter().flat_map(Template::references) {
            if let Target::Task(name, _) = &reference.target {
                found.push((name, reference.span));
            }
        }
        found
    }

    /// Whether it has several instances.
    pub(crate) fn is_repeated(&self) -> bool {
        self.foreach.is_some() || !self.matrix.is_empty()
    }
}
