//! From a document to a model: each key is read for itself here; what has to fit together is
//! checked in `check`.

use std::collections::BTreeMap;
use std::time::Duration;

use cov_core::executor::RETRIES_MAX;
use croner::parser::{CronParser, Seconds, Year};
use serde_json::json;

use super::engines::{Engine, Engines};
use super::fault::Fault;
use super::keys;
use super::model::{
    Action, Argument, Axis, Foreach, Model, Name, Outputs, Param, Setting, Shell, Task, Trigger,
};
use super::reader::{Reader, Table};
use super::template::{Target, Template, Written};
use super::tree::{Entry, Node, Value};

/// Most tasks of one file, before they are repeated.
pub(crate) const TASKS_MAX: usize = 5_000;

#[derive(Debug, Default)]
struct Defaults {
    shell: Shell,
    env: BTreeMap<String, Template>,
    workdir: Option<Template>,
    retries: Option<u32>,
    time_limit: Option<Duration>,
    on: Option<Engine>,
}

/// Reads what there is; faults are left in the reader.
pub(super) fn model(reader: &mut Reader<'_>, root: &Node) -> Model {
    let Some(table) = reader.table(root, keys::FILE, "a workflow file") else {
        return Model::default();
    };
    let engines = Engines::read(reader, table);
    let defaults = table.get("defaults").map(|node| defaults(reader, node, &engines));
    let defaults = defaults.unwrap_or_default();
    let mut model = Model {
        name: table.get("name").and_then(|node| reader.text(node)),
        description: table.get("description").and_then(|node| reader.text(node)),
        ..Model::default()
    };
    if let Some(node) = table.get("params") {
        let entries = reader.entries(node).unwrap_or_default();
        model.params = entries.iter().filter_map(|entry| param(reader, entry)).collect();
    }
    match table.get("tasks") {
        None => {
            reader.fail(Fault::new(root.span, "the workflow has no tasks").help(
                "describe each one in a table of its own: `[tasks.NAME]`, or `tasks:` in YAML",
            ))
        }
        Some(node) => model.tasks = tasks(reader, node, &defaults, &engines),
    }
    model.outputs = table.get("outputs").and_then(|node| outputs(reader, node));
    if let Some(node) = table.get("triggers") {
        let items = reader.list(node).unwrap_or_default();
        model.triggers = items.iter().filter_map(|item| trigger(reader, item)).collect();
    }
    model
}

fn defaults(reader: &mut Reader<'_>, node: &Node, engines: &Engines) -> Defaults {
    let Some(table) = reader.table(node, keys::DEFAULTS, "`defaults`") else {
        return Defaults::default();
    };
    Defaults {
        shell: shell(reader, table).unwrap_or_default(),
        env: env(reader, table),
        workdir: table.get("workdir").and_then(|node| reader.template(node)),
        retries: retries(reader, table),
        time_limit: table.get("time_limit").and_then(|node| reader.duration(node)),
        on: engines.named(reader, table),
    }
}

fn shell(reader: &mut Reader<'_>, table: Table<'_>) -> Option<Shell> {
    match reader.choice(table.get("shell")?, keys::SHELLS)? {
        "bash" => Some(Shell::Bash),
        _ => Some(Shell::Sh),
    }
}

fn retries(reader: &mut Reader<'_>, table: Table<'_>) -> Option<u32> {
    reader.integer(table.get("retries")?, i64::from(RETRIES_MAX))
}

fn env(reader: &mut Reader<'_>, table: Table<'_>) -> BTreeMap<String, Template> {
    let Some(node) = table.get("env") else { return BTreeMap::new() };
    let mut env = BTreeMap::new();
    for entry in reader.entries(node).unwrap_or_default() {
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            let message = format!("no variable can be called `{}`", entry.key.escape_debug());
            reader.fail(Fault::new(entry.key_span, message));
        }
        if let Some(template) = reader.template(&entry.node) {
            env.insert(entry.key.clone(), template);
        }
    }
    env
}

fn param(reader: &mut Reader<'_>, entry: &Entry) -> Option<Param> {
    let name = named(reader, entry, "a parameter")?;
    let Value::Table(_) = entry.node.value else {
        let default = Some(setting(reader, &entry.node)?);
        return Some(Param { name, default, choices: Vec::new(), description: None });
    };
    let table = reader.table(&entry.node, keys::PARAM, "a parameter")?;
    let default_node = table.get("default");
    let default = default_node.and_then(|node| setting(reader, node));
    let choices = table.get("choices").and_then(|node| reader.scalars(node)).unwrap_or_default();
    if let (Some(default), Some(node)) = (&default, default_node)
        && !choices.is_empty()
        && !default.scalars().iter().all(|scalar| choices.contains(scalar))
    {
        reader.fail(Fault::new(node.span, "the default is none of the choices"));
    }
    let description = table.get("description").and_then(|node| reader.text(node));
    Some(Param { name, default, choices, description })
}

fn setting(reader: &mut Reader<'_>, node: &Node) -> Option<Setting> {
    match &node.value {
        Value::List(items) => {
            let scalars: Vec<_> = items.iter().filter_map(|item| reader.scalar(item)).collect();
            (scalars.len() == items.len()).then_some(Setting::Many(scalars))
        }
        _ => reader.scalar(node).map(Setting::One),
    }
}

fn named(reader: &mut Reader<'_>, entry: &Entry, what: &str) -> Option<Name> {
    let is_name = reader.check_name(&entry.key, entry.key_span, what);
    is_name.then(|| Name { text: entry.key.clone(), span: entry.key_span })
}

fn tasks(
    reader: &mut Reader<'_>,
    node: &Node,
    defaults: &Defaults,
    engines: &Engines,
) -> Vec<Task> {
    let Some(entries) = reader.entries(node) else { return Vec::new() };
    if entries.is_empty() {
        reader.fail(Fault::new(node.span, "the workflow has no tasks"));
    }
    if entries.len() > TASKS_MAX {
        let message = format!("the workflow has more than {TASKS_MAX} tasks");
        reader.fail(
            Fault::new(node.span, message).help("repeat one with `matrix` or `foreach` instead"),
        );
        return Vec::new();
    }
    entries.iter().filter_map(|entry| task(reader, entry, defaults, engines)).collect()
}

fn task(
    reader: &mut Reader<'_>,
    entry: &Entry,
    defaults: &Defaults,
    engines: &Engines,
) -> Option<Task> {
    let name = named(reader, entry, "a task")?;
    let table = reader.table(&entry.node, keys::TASK, "a task")?;
    if let Some(node) = table.get("description") {
        reader.text(node);
    }
    let action = action(reader, &name, table, defaults);
    let mut variables = defaults.env.clone();
    variables.extend(env(reader, table));
    let workdir = table.get("workdir").and_then(|node| reader.template(node));
    let needs = table.get("needs").map(|node| reader.names(node)).unwrap_or_default();
    let time_limit = table.get("time_limit").and_then(|node| reader.duration(node));
    Some(Task {
        action: action?,
        env: variables,
        workdir: workdir.or_else(|| defaults.workdir.clone()),
        stdin: table.get("stdin").and_then(|node| reader.template(node)),
        needs,
        inputs: inputs(reader, table),
        retries: retries(reader, table).or(defaults.retries),
        time_limit: time_limit.or(defaults.time_limit),
        on: engines.named(reader, table).or_else(|| defaults.on.clone()),
        success: success(reader, table),
        output: output(reader, table),
        matrix: matrix(reader, table),
        foreach: table.entry("foreach").and_then(|entry| {
            foreach(reader, &entry.node).map(|foreach| (foreach, entry.node.span))
        }),
        name,
    })
}

fn action(
    reader: &mut Reader<'_>,
    name: &Name,
    table: Table<'_>,
    defaults: &Defaults,
) -> Option<Action> {
    let own_shell = shell(reader, table);
    match (table.entry("run"), table.entry("python")) {
        (Some(run), Some(python)) => {
            reader.fail(
                Fault::new(python.key_span, "a task has `run` or `python`, not both")
                    .label("and a function")
                    .also(run.key_span, "a command"),
            );
            None
        }
        (None, None) => {
            reader.fail(
                Fault::new(name.span, format!("the task `{}` does nothing", name.text))
                    .help("give it a command with `run`, or a function with `python`"),
            );
            None
        }
        (Some(run), None) => {
            let python_only = "it is for `python` tasks";
            refuse(reader, table, &["args", "kwargs"], python_only);
            let Value::List(words) = &run.node.value else {
                let script = reader.shell_template(&run.node)?;
                return Some(Action::Shell { shell: own_shell.unwrap_or(defaults.shell), script });
            };
            refuse(reader, table, &["shell"], "no shell reads a list of words");
            if words.is_empty() {
                reader.fail(Fault::new(run.node.span, "the command has no words"));
            }
            let read: Vec<_> = words.iter().filter_map(|word| reader.template(word)).collect();
            (read.len() == words.len()).then_some(Action::Words(read))
        }
        (None, Some(python)) => {
            let command_only = ["shell", "stdin", "success", "output", "env"];
            refuse(reader, table, &command_only, "it is for commands");
            function(reader, &python.node, table)
        }
    }
}

fn refuse(reader: &mut Reader<'_>, table: Table<'_>, keys: &[&str], why: &str) {
    for key in keys {
        if let Some(entry) = table.entry(key) {
            let message = format!("`{key}` has no meaning here: {why}");
            reader.fail(Fault::new(entry.key_span, message));
        }
    }
}

fn function(reader: &mut Reader<'_>, node: &Node, table: Table<'_>) -> Option<Action> {
    let function = reader.text(node)?;
    let is_word = |word: &str| {
        let letters = |letter: char| letter.is_alphanumeric() || letter == '_';
        !word.is_empty()
            && word.chars().all(letters)
            && !word.starts_with(|first: char| first.is_ascii_digit())
    };
    let is_path = |path: &str| path.split('.').all(is_word);
    let is_function = function.split_once(':').is_some_and(|(m, f)| is_path(m) && is_path(f));
    if !is_function {
        reader.fail(
            Fault::new(node.span, format!("`{function}` names no Python function"))
                .help("write it as `module:function`, like `reports.daily:render`"),
        );
        return None;
    }
    let args = match table.get("args") {
        Some(node) => reader.list(node)?.iter().map(|item| argument(reader, item)).collect(),
        None => Vec::new(),
    };
    let mut kwargs = Vec::new();
    if let Some(node) = table.get("kwargs") {
        for entry in reader.entries(node)? {
            let name = Name { text: entry.key.clone(), span: entry.key_span };
            if !is_word(&entry.key) {
                let message = format!("no Python argument is called `{}`", entry.key);
                reader.fail(Fault::new(entry.key_span, message));
            }
            kwargs.push((name, argument(reader, &entry.node)));
        }
    }
    Some(Action::Python { function, args, kwargs })
}

fn argument(reader: &mut Reader<'_>, node: &Node) -> Argument {
    match &node.value {
        Value::Text(text) if text.contains("${{") => {
            let written = Written { text, span: node.span, file: reader.file };
            match Template::parse(written) {
                Ok(template) => Argument::Text(template),
                Err(fault) => {
                    reader.fail(fault);
                    Argument::Plain(serde_json::Value::Null)
                }
            }
        }
        Value::List(items) => {
            Argument::List(items.iter().map(|item| argument(reader, item)).collect())
        }
        Value::Table(entries) => {
            let member = |entry: &Entry| (entry.key.clone(), argument(reader, &entry.node));
            Argument::Table(entries.iter().map(member).collect())
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => {
            Argument::Plain(node.to_json())
        }
    }
}

fn inputs(reader: &mut Reader<'_>, table: Table<'_>) -> Vec<(Name, Template)> {
    let Some(node) = table.get("inputs") else { return Vec::new() };
    let mut inputs = Vec::new();
    for entry in reader.entries(node).unwrap_or_default() {
        let name = named(reader, entry, "an input");
        let path = reader.template(&entry.node);
        inputs.extend(name.zip(path));
    }
    inputs
}

fn success(reader: &mut Reader<'_>, table: Table<'_>) -> Vec<i32> {
    let Some(node) = table.get("success") else { return Vec::new() };
    let nodes = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    nodes.iter().filter_map(|node| reader.integer(node, 255)).collect()
}

fn output(reader: &mut Reader<'_>, table: Table<'_>) -> Option<Template> {
    let node = table.get("output")?;
    if let Value::Text(text) = &node.value {
        if text != "stdout" {
            reader.fail(
                Fault::new(node.span, format!("the output cannot be `{text}`"))
                    .help(format!("`stdout`, or a file: `{{ file = \"{text}\" }}`")),
            );
        }
        return None;
    }
    let table = reader.table(node, keys::OUTPUT, "`output`")?;
    match table.get("file") {
        Some(node) => reader.template(node),
        None => {
            reader.fail(Fault::new(node.span, "the output has no `file`"));
            None
        }
    }
}

/// The parameter that a text refers to, and to nothing else.
fn whole_param(reader: &mut Reader<'_>, node: &Node) -> Option<Name> {
    let Value::Text(_) = &node.value else { return None };
    let template = reader.template(node)?;
    match &template.whole()?.target {
        Target::Param(name) => Some(Name { text: name.clone(), span: node.span }),
        _ => None,
    }
}

fn matrix(reader: &mut Reader<'_>, table: Table<'_>) -> Vec<(Name, Axis)> {
    let Some(node) = table.get("matrix") else { return Vec::new() };
    let mut matrix = Vec::new();
    for entry in reader.entries(node).unwrap_or_default() {
        let name = named(reader, entry, "a variable");
        let axis = match whole_param(reader, &entry.node) {
            Some(param) => Some(Axis::Param(param)),
            None => reader.scalars(&entry.node).map(Axis::Values),
        };
        matrix.extend(name.zip(axis));
    }
    if matrix.is_empty() && matches!(&node.value, Value::Table(entries) if entries.is_empty()) {
        reader.fail(Fault::new(node.span, "the matrix has no variables"));
    }
    matrix
}

fn foreach(reader: &mut Reader<'_>, node: &Node) -> Option<Foreach> {
    match &node.value {
        Value::List(_) => reader.scalars(node).map(Foreach::Values),
        Value::Table(_) => {
            let table = reader.table(node, keys::FOREACH, "`foreach`")?;
            match table.get("task") {
                Some(node) => reader.name(node).map(Foreach::Task),
                None => {
                    reader.fail(Fault::new(node.span, "this names no `task`"));
                    None
                }
            }
        }
        _ => match whole_param(reader, node) {
            Some(param) => Some(Foreach::Param(param)),
            None => reader.template(node).map(Foreach::Glob),
        },
    }
}

fn outputs(reader: &mut Reader<'_>, node: &Node) -> Option<Outputs> {
    match &node.value {
        Value::Text(_) => reader.name(node).map(Outputs::One),
        Value::List(_) => {
            let names = reader.names(node);
            Some(Outputs::Named(names.into_iter().map(|name| (name.text.clone(), name)).collect()))
        }
        _ => {
            let entries = reader.entries(node)?;
            let named = |entry: &Entry| Some((entry.key.clone(), reader.name(&entry.node)?));
            Some(Outputs::Named(entries.iter().filter_map(named).collect()))
        }
    }
}

fn trigger(reader: &mut Reader<'_>, node: &Node) -> Option<Trigger> {
    let table = reader.table(node, keys::TRIGGER, "a trigger")?;
    let kinds = ["cron", "every", "dir"].map(|key| (key, table.entry(key)));
    let given: Vec<_> = kinds.iter().filter_map(|(key, entry)| Some((*key, (*entry)?))).collect();
    let [(kind, _)] = given.as_slice() else {
        reader.fail(
            Fault::new(node.span, "a trigger has one of `cron`, `every` and `dir`")
                .help("write several triggers for several times"),
        );
        return None;
    };
    let (name, own, others): (_, &[&str], &[&str]) = match *kind {
        "cron" => ("CronTrigger", &["cron", "time_zone"], &["events", "recursive"]),
        "every" => ("TimeTrigger", &["every"], &["time_zone", "events", "recursive"]),
        _ => ("DirTrigger", &["dir", "events", "recursive"], &["time_zone"]),
    };
    refuse(reader, table, others, "its trigger is of another kind");
    let mut dictionary = serde_json::Map::new();
    dictionary.insert("name".to_owned(), json!(name));
    for key in own.iter().chain(&["overlap", "catch_up", "jitter"]) {
        let Some(node) = table.get(key) else { continue };
        if let Some((field, value)) = trigger_field(reader, key, node) {
            dictionary.insert(field.to_owned(), value);
        }
    }
    let folder = table.get("dir").and_then(|node| reader.text(node));
    if folder.is_some() && !dictionary.contains_key("event_names") {
        dictionary.insert("event_names".to_owned(), json!(["created", "closed"]));
    }
    Some(Trigger { dictionary, folder })
}

/// A pattern that a trigger takes; whether it ever matches is for the server to say.
fn cron(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let pattern = reader.text(node)?;
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Optional).build();
    if let Err(error) = parser.parse(&pattern) {
        reader.fail(
            Fault::new(node.span, format!("this is no cron pattern: {error}"))
                .help("minute, hour, day, month and weekday, like `30 2 * * MON-FRI`"),
        );
        return None;
    }
    Some(pattern)
}

fn trigger_field(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node,
) -> Option<(&'static str, serde_json::Value)> {
    match key {
        "cron" => Some(("cron", json!(cron(reader, node)?))),
        "time_zone" => Some(("time_zone", json!(reader.text(node)?))),
        "every" => Some(("time_gap", json!(reader.duration(node)?.as_secs_f64()))),
        "events" => {
            let events = reader.list(node)?.iter();
            let events: Vec<_> =
                events.filter_map(|item| reader.choice(item, keys::EVENTS)).collect();
            Some(("event_names", json!(events)))
        }
        "recursive" => Some(("recursive", json!(reader.flag(node)?))),
        "overlap" => Some(("overlap", json!(reader.choice(node, keys::OVERLAPS)?))),
        "catch_up" => Some(("catch_up", json!(reader.choice(node, keys::CATCH_UPS)?))),
        "jitter" => Some(("jitter", json!(reader.duration(node)?.as_secs_f64()))),
        _ => None,
    }
}
