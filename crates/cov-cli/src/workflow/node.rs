//! From an instance of a task to a node: its function, and where its arguments come from.

use std::collections::HashMap;
use std::ops::Range;

use cov_core::command::{self, Command, Form, Input, Output, Part, Quote};
use cov_core::ids::NodeId;
use serde_json::{Value, json};

use super::contents;
use super::expand::{self, Instance};
use super::fault::{Fault, Span};
use super::model::{Action, Argument, Task};
use super::plan::Planner;
use super::template::{InputForm, Piece, Reference, Target, TaskForm, Template};

/// What a node is made of.
pub(super) struct Work {
    pub(super) function: Vec<u8>,
    pub(super) args: Vec<NodeId>,
    pub(super) kwargs: Vec<(String, NodeId)>,
    pub(super) waits: Vec<NodeId>,
    pub(super) workdir: Option<String>,
}

impl Work {
    pub(super) fn of<'a>(
        planner: &mut Planner<'a>,
        at: usize,
        task: &'a Task,
        instance: &'a Instance,
    ) -> Result<Self, Fault> {
        let workdir = task.workdir.as_ref().map(|template| {
            let path = expand::render(template, instance, &planner.context);
            contents::absolute(planner.context.folder.path(), &path)
        });
        let mut writer =
            Writer { planner, at, task, instance, args: Vec::new(), known: HashMap::new() };
        let mut kwargs = Vec::new();
        let function = match &task.action {
            Action::Python { function, args, kwargs: named } => {
                let shapes = args.iter().map(|argument| writer.argument(argument));
                let shapes = shapes.collect::<Result<Vec<Value>, Fault>>()?;
                for (name, argument) in named {
                    kwargs.push((
                        name.text.clone(),
                        writer.keyword(&name.text, name.span, argument)?,
                    ));
                }
                let mut document = json!({
                    "python": function,
                    "output": "json",
                    "path": [writer.planner.context.folder.path()],
                });
                if shapes.iter().any(|shape| *shape != json!("value")) {
                    document["args"] = Value::Array(shapes);
                }
                contents::function(&document, function)
            }
            Action::Words(_) | Action::Shell { .. } => {
                let command = writer.command(workdir.clone())?;
                let document = json!(command::Work::Command(command));
                contents::function(&document, &task.name.text)
            }
        };
        let args = std::mem::take(&mut writer.args);
        let mut waits = Vec::new();
        for name in &task.needs {
            let (target, range) = planner.referred(at, instance, &name.text);
            waits.extend(range.filter_map(|number| planner.place(target, number)));
        }
        waits.retain(|node| !args.contains(node));
        Ok(Self { function, args, kwargs, waits, workdir })
    }
}

/// Writes templates, and notes what they refer to.
struct Writer<'p, 'a> {
    planner: &'p mut Planner<'a>,
    at: usize,
    task: &'a Task,
    instance: &'a Instance,
    args: Vec<NodeId>,
    /// Where among the arguments something is.
    known: HashMap<Source, (u32, u32)>,
}

/// What an argument is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Source {
    File(String),
    Task(usize, Range<usize>),
}

impl Writer<'_, '_> {
    fn command(&mut self, workdir: Option<String>) -> Result<Command, Fault> {
        let mut argv = Vec::new();
        match &self.task.action {
            Action::Words(words) => {
                for word in words {
                    self.word(word, &mut argv)?;
                }
            }
            Action::Shell { shell, script } => {
                argv.extend(shell.words().iter().map(|word| command::Template::from(*word)));
                argv.push(self.template(script, Form::Line)?);
            }
            Action::Python { .. } => {}
        }
        let mut env = std::collections::BTreeMap::new();
        for (name, template) in &self.task.env {
            env.insert(name.clone(), self.template(template, Form::Line)?);
        }
        let stdin = match &self.task.stdin {
            Some(template) => Some(self.template(template, Form::Text)?),
            None => None,
        };
        let output = match &self.task.output {
            None => Output::Stdout,
            Some(template) => {
                Output::File(expand::render(template, self.instance, &self.planner.context))
            }
        };
        Ok(Command { argv, env, workdir, stdin, output, success: self.task.success.clone() })
    }

    /// One word; several, if it is nothing but a reference to a list.
    fn word(
        &mut self,
        template: &Template,
        argv: &mut Vec<command::Template>,
    ) -> Result<(), Fault> {
        if let Some(reference) = template.whole()
            && let Some(words) =
                expand::words(&reference.target, self.instance, &self.planner.context)
        {
            argv.extend(words.into_iter().map(command::Template::Text));
            return Ok(());
        }
        argv.push(self.template(template, Form::Line)?);
        Ok(())
    }

    /// `form` is that of what tasks have given.
    fn template(&mut self, template: &Template, form: Form) -> Result<command::Template, Fault> {
        let mut parts: Vec<Part> = Vec::new();
        for piece in &template.pieces {
            match piece {
                Piece::Text(text) => push_text(&mut parts, text),
                Piece::Reference(reference) => self.reference(reference, form, &mut parts)?,
            }
        }
        match parts.as_mut_slice() {
            [] => Ok(command::Template::Text(String::new())),
            [Part::Text(text)] => Ok(command::Template::Text(std::mem::take(text))),
            _ => Ok(command::Template::Parts(parts)),
        }
    }

    fn reference(
        &mut self,
        reference: &Reference,
        form: Form,
        parts: &mut Vec<Part>,
    ) -> Result<(), Fault> {
        let quote = reference.quote;
        if let Some(words) = expand::words(&reference.target, self.instance, &self.planner.context)
        {
            push_text(parts, &quoted(&words, quote));
            return Ok(());
        }
        let mut place = reference.span;
        let (form, name, source) = match &reference.target {
            Target::Input(name, input) => {
                let (path, span) = self.input(name);
                place = span;
                let file = path.rsplit('/').next().unwrap_or(name).to_owned();
                let form = if *input == InputForm::Path { Form::File } else { form };
                (form, Some(file), Source::File(path))
            }
            Target::Task(name, task_form) => {
                let (at, range) = self.planner.referred(self.at, self.instance, name);
                let form = match task_form {
                    TaskForm::Output => form,
                    TaskForm::File => Form::File,
                    TaskForm::Files => Form::Files,
                };
                (form, Some(self.file_name(at, &range)), Source::Task(at, range))
            }
            Target::Param(_) | Target::Matrix(_) | Target::Item(_) | Target::Workflow(_) => {
                return Ok(());
            }
        };
        let (input, count) = self.position(source, place)?;
        let name = name.filter(|_| matches!(form, Form::File | Form::Files));
        parts.push(Part::Input(Input { input, count, form, quote, name }));
        Ok(())
    }

    /// The path of an input, and where it is said.
    fn input(&self, name: &str) -> (String, Span) {
        match self.task.inputs.iter().find(|(known, _)| known.text == name) {
            None => (String::new(), self.task.name.span),
            Some((_, path)) => {
                (expand::render(path, self.instance, &self.planner.context), path.span)
            }
        }
    }

    /// What the file is called into which a task's output is put.
    fn file_name(&self, at: usize, range: &Range<usize>) -> String {
        let Some(task) = self.planner.model.tasks.get(at) else { return "input".to_owned() };
        let instance = self.planner.instances.get(at).and_then(|all| all.get(range.start));
        let own =
            task.output.as_ref().zip(instance).map(|(template, instance)| {
                expand::render(template, instance, &self.planner.context)
            });
        let own = own.as_deref().and_then(|path| path.rsplit('/').next());
        match own {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => format!("{}.out", task.name.text),
        }
    }

    /// Where among the arguments the values of a source are.
    fn position(&mut self, source: Source, span: Span) -> Result<(u32, u32), Fault> {
        if let Some(known) = self.known.get(&source) {
            return Ok(*known);
        }
        let nodes: Vec<NodeId> = match &source {
            Source::File(path) => {
                let node = self.planner.file(path);
                vec![node.map_err(|why| Fault::new(span, format!("`{path}`: {why}")))?]
            }
            Source::Task(at, range) => {
                range.clone().filter_map(|number| self.planner.place(*at, number)).collect()
            }
        };
        let first = u32::try_from(self.args.len()).unwrap_or(u32::MAX);
        let count = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        self.args.extend(nodes);
        self.known.insert(source, (first, count));
        Ok((first, count))
    }

    /// The shape of an argument of a Python function.
    fn argument(&mut self, argument: &Argument) -> Result<Value, Fault> {
        match argument {
            Argument::Plain(value) => Ok(self.plain(value)),
            Argument::Text(template) => self.text(template),
            Argument::List(items) if is_plain(argument) => {
                let items = items.iter().map(plain_value).collect();
                Ok(self.plain(&Value::Array(items)))
            }
            Argument::List(items) => {
                let items: Result<Vec<Value>, Fault> =
                    items.iter().map(|item| self.argument(item)).collect();
                Ok(json!({ "list": items? }))
            }
            Argument::Table(_) if is_plain(argument) => Ok(self.plain(&plain_value(argument))),
            Argument::Table(members) => {
                let mut entries = Vec::with_capacity(members.len());
                for (name, member) in members {
                    entries.push(json!([self.plain(&json!(name)), self.argument(member)?]));
                }
                Ok(json!({ "map": entries }))
            }
        }
    }

    fn plain(&mut self, value: &Value) -> Value {
        let name = contents::preview(&value.to_string());
        let node = self.planner.value(contents::value_archive(value), name);
        self.args.push(node);
        json!("value")
    }

    /// A text for a Python function: one value, or a list of those that a repeated task gives.
    fn text(&mut self, template: &Template) -> Result<Value, Fault> {
        let Some(reference) = template.whole() else {
            let given = template
                .references()
                .find(|reference| matches!(reference.target, Target::Task(..) | Target::Input(..)));
            if let Some(reference) = given {
                return Err(Fault::new(reference.span, "this value cannot be part of a text")
                    .help("make it an argument of its own; the function can put texts together"));
            }
            let text = expand::render(template, self.instance, &self.planner.context);
            return Ok(self.plain(&json!(text)));
        };
        match &reference.target {
            Target::Task(name, _) => {
                let (at, range) = self.planner.referred(self.at, self.instance, name);
                let repeated = range.len() != 1
                    || self.planner.model.tasks.get(at).is_some_and(Task::is_repeated)
                        && range.len() == self.planner.instances.get(at).map_or(0, Vec::len)
                        && !self.follows(name);
                let nodes: Vec<NodeId> =
                    range.filter_map(|number| self.planner.place(at, number)).collect();
                let count = nodes.len();
                self.args.extend(nodes);
                Ok(if repeated { json!({ "values": count }) } else { json!("value") })
            }
            Target::Input(name, _) => {
                let (path, span) = self.input(name);
                let node = self.planner.file(&path);
                let node = node.map_err(|why| Fault::new(span, format!("`{path}`: {why}")))?;
                self.args.push(node);
                Ok(json!("value"))
            }
            Target::Param(name) => {
                let value = self.planner.context.settings.get(name);
                let value = value.map_or(Value::Null, super::model::Setting::to_json);
                Ok(self.plain(&value))
            }
            Target::Matrix(name) => {
                let mut matrix = self.instance.matrix.iter();
                let value = matrix.find(|(known, _)| known == name);
                let value = value.map_or(Value::Null, |(_, value)| value.to_json());
                Ok(self.plain(&value))
            }
            Target::Item(_) | Target::Workflow(_) => {
                let text = expand::render(template, self.instance, &self.planner.context);
                Ok(self.plain(&json!(text)))
            }
        }
    }

    fn follows(&self, name: &str) -> bool {
        let mut task = Some(self.task);
        let mut steps = 0;
        while let Some(Task { foreach: Some((super::model::Foreach::Task(parent), _)), .. }) = task
        {
            if parent.text == name {
                return true;
            }
            steps += 1;
            if steps > self.planner.model.tasks.len() {
                return false;
            }
            let at = self.planner.index.get(parent.text.as_str());
            task = at.and_then(|at| self.planner.model.tasks.get(*at));
        }
        false
    }

    /// The node of a named argument, which is one value.
    fn keyword(&mut self, name: &str, span: Span, argument: &Argument) -> Result<NodeId, Fault> {
        let before = self.args.len();
        let shape = self.argument(argument)?;
        let added = self.args.split_off(before);
        match (shape == json!("value"), added.as_slice()) {
            (true, [node]) => Ok(*node),
            _ => {
                Err(Fault::new(span, format!("`{name}` would be put together from several values"))
                    .help("give it as a positional argument, in `args`"))
            }
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

fn quoted(words: &[String], quote: Option<Quote>) -> String {
    let quote = |word: &String| match quote {
        Some(quote) => quote.apply(word).into_owned(),
        None => word.clone(),
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn is_plain(argument: &Argument) -> bool {
    match argument {
        Argument::Plain(_) => true,
        Argument::Text(_) => false,
        Argument::List(items) => items.iter().all(is_plain),
        Argument::Table(members) => members.iter().all(|(_, member)| is_plain(member)),
    }
}

fn plain_value(argument: &Argument) -> Value {
    match argument {
        Argument::Plain(value) => value.clone(),
        Argument::Text(_) => Value::Null,
        Argument::List(items) => items.iter().map(plain_value).collect(),
        Argument::Table(members) => Value::Object(
            members.iter().map(|(name, item)| (name.clone(), plain_value(item))).collect(),
        ),
    }
}
