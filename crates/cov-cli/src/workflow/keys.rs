//! Every key that a workflow file can have, with what it takes: what the reader knows, and what
//! the JSON schema for editors says, are made of the same tables.

use serde_json::{Map, Value, json};

/// A key of a table.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    about: &'static str,
    schema: fn() -> Value,
}

const fn key(name: &'static str, about: &'static str, schema: fn() -> Value) -> Key {
    Key { name, about, schema }
}

/// The file itself.
pub(crate) const FILE: &[Key] = &[
    key("name", "Name of the workflow; the file's name, if there is none.", text),
    key("description", "What the workflow does, for people.", text),
    key(
        "params",
        "Values that can be changed for one run with `--set NAME=VALUE`: a default, or a table \
         with `default`, `choices` and `description`. One without a default has to be set.",
        || members(param()),
    ),
    key("defaults", "What counts for every task that says nothing else.", || table(DEFAULTS, &[])),
    key(
        "executors",
        "Executors of the server that tasks run on, by names of the file's own: a table with what \
         the executor is told. `type` is its name, if the file calls it something else.",
        || {
            let mut executor = members(json!({}));
            put(&mut executor, "properties", json!({ "type": text() }));
            members(executor)
        },
    ),
    key("tasks", "The tasks, by name.", || {
        let mut tasks = members(table(TASK, &[]));
        put(&mut tasks, "minProperties", json!(1));
        put(&mut tasks, "propertyNames", json!({ "pattern": NAME_PATTERN }));
        tasks
    }),
    key(
        "outputs",
        "What the workflow gives: the output of one task, of several, or of several under other \
         names. Otherwise it is that of the tasks that no other task takes anything from.",
        || json!({ "anyOf": [text(), texts(), members(text())] }),
    ),
    key(
        "triggers",
        "When `cov dispatch` shall have the workflow run again by itself. `cov run` runs it once.",
        || list(table(TRIGGER, &[])),
    ),
];

/// `defaults`.
pub(crate) const DEFAULTS: &[Key] = &[
    key("shell", SHELL, shell),
    key("env", "Environment variables of every task.", scalars),
    key("workdir", WORKDIR, text),
    key("retries", RETRIES, count),
    key("time_limit", TIME_LIMIT, duration),
    key("on", ON, text),
];

/// A parameter.
pub(crate) const PARAM: &[Key] = &[
    key(
        "default",
        "Its value when nothing else is set.",
        || json!({ "anyOf": [scalar(), list(scalar())] }),
    ),
    key("choices", "The values that are allowed.", || list(scalar())),
    key("description", "What it is for.", text),
];

/// A task.
pub(crate) const TASK: &[Key] = &[
    key("description", "What the task does, for people.", text),
    key(
        "run",
        "The command: a list of words, which are used as they are, or a text, which a shell reads.",
        || json!({ "anyOf": [text(), { "type": "array", "items": scalar(), "minItems": 1 }] }),
    ),
    key("shell", SHELL, shell),
    key("python", "A Python function to call instead of a command, as `module:function`.", text),
    key("args", "Positional arguments of the Python function.", || json!({ "type": "array" })),
    key("kwargs", "Named arguments of the Python function.", || json!({ "type": "object" })),
    key("env", "Environment variables, beside those of the defaults.", scalars),
    key("workdir", WORKDIR, text),
    key("stdin", "What the command reads; nothing, if it is left out.", text),
    key(
        "needs",
        "Tasks that have to succeed before this one begins.",
        || json!({ "anyOf": [text(), texts()] }),
    ),
    key(
        "inputs",
        "Files whose content travels with the workflow, by name. `${{ inputs.NAME }}` is the path \
         of the task's own copy.",
        || members(text()),
    ),
    key("retries", RETRIES, count),
    key("time_limit", TIME_LIMIT, duration),
    key("on", ON, text),
    key("success", "Exit codes that mean success.", || {
        let code = json!({ "type": "integer", "minimum": 0, "maximum": 255 });
        json!({ "anyOf": [code, { "type": "array", "items": code, "minItems": 1 }] })
    }),
    key(
        "output",
        "Where the output is: `stdout`, or a file that the command writes.",
        || json!({ "anyOf": [{ "const": "stdout" }, table(OUTPUT, &["file"])] }),
    ),
    key(
        "matrix",
        "Values of variables: the task runs once for each combination. `${{ matrix.NAME }}`.",
        || {
            members(
                json!({ "anyOf": [{ "type": "array", "items": scalar(), "minItems": 1 }, text()] }),
            )
        },
    ),
    key(
        "foreach",
        "The task runs once for each file that matches a pattern, each value of a list, or each \
         instance of another task. `${{ item }}`.",
        || {
            let values = json!({ "type": "array", "items": scalar(), "minItems": 1 });
            json!({ "anyOf": [text(), values, table(FOREACH, &["task"])] })
        },
    ),
];

/// `output` of a task.
pub(crate) const OUTPUT: &[Key] =
    &[key("file", "The file, below the folder that the command runs in.", text)];

/// `foreach` over another task.
pub(crate) const FOREACH: &[Key] =
    &[key("task", "The task whose instances this one follows, one by one.", text)];

/// A trigger.
pub(crate) const TRIGGER: &[Key] = &[
    key("cron", "A pattern of minute, hour, day, month and weekday.", text),
    key("time_zone", "The zone of the clock that the pattern is about; UTC otherwise.", text),
    key("every", "The time between two runs.", duration),
    key("dir", "A folder or file to watch.", text),
    key(
        "events",
        "What has to happen there.",
        || json!({ "type": "array", "items": { "enum": EVENTS }, "minItems": 1 }),
    ),
    key("recursive", "Whether folders below count, too.", || json!({ "type": "boolean" })),
    key(
        "overlap",
        "What happens while an earlier run is under way.",
        || json!({ "enum": OVERLAPS }),
    ),
    key(
        "catch_up",
        "What happens to times at which no server ran.",
        || json!({ "enum": CATCH_UPS }),
    ),
    key("jitter", "The longest delay; each run has its own.", duration),
];

/// What can happen to a watched folder.
pub(crate) const EVENTS: &[&str] = &["created", "deleted", "modified", "moved", "closed"];
/// What can happen while an earlier run is under way.
pub(crate) const OVERLAPS: &[&str] = &["allow", "skip", "queue_one", "queue_all", "cancel_running"];
/// What can happen to missed times.
pub(crate) const CATCH_UPS: &[&str] = &["none", "last", "all"];
/// The shells.
pub(crate) const SHELLS: &[&str] = &["sh", "bash"];

const NAME_PATTERN: &str = "^[A-Za-z_][A-Za-z0-9_-]*$";
const SHELL: &str = "The shell that reads `run`: `sh`, or `bash`, which also fails when a part of a \
                     pipe does.";
const WORKDIR: &str = "The folder to run in, relative to the file. Otherwise each attempt has an \
                       empty one of its own, which is removed when it has ended.";
const RETRIES: &str = "How many more attempts follow a failed one, after pauses that double.";
const ON: &str = "Where it runs: an executor of the file or of the server, such as `dask`; `local` is \
                  the server's own machine.";
const TIME_LIMIT: &str = "How long one attempt may run: seconds, or a text like `90s` or `1h30m`.";

fn text() -> Value {
    json!({ "type": "string" })
}

fn texts() -> Value {
    list(text())
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn members(schema: Value) -> Value {
    json!({ "type": "object", "additionalProperties": schema })
}

fn scalar() -> Value {
    json!({ "type": ["string", "number", "boolean"] })
}

fn scalars() -> Value {
    members(scalar())
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": cov_core::executor::RETRIES_MAX })
}

fn duration() -> Value {
    json!({ "type": ["string", "number"] })
}

fn shell() -> Value {
    json!({ "enum": SHELLS })
}

fn param() -> Value {
    json!({ "anyOf": [scalar(), list(scalar()), table(PARAM, &[])] })
}

fn put(schema: &mut Value, name: &str, value: Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(name.to_owned(), value);
    }
}

fn table(keys: &[Key], required: &[&str]) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| {
            let mut schema = (key.schema)();
            put(&mut schema, "description", key.about.into());
            (key.name.to_owned(), schema)
        })
        .collect();
    let mut schema =
        json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        put(&mut schema, "required", json!(required));
    }
    schema
}

/// The JSON schema of workflow files, for editors.
#[must_use]
pub fn schema() -> Value {
    let mut schema = table(FILE, &["tasks"]);
    put(&mut schema, "$schema", "http://json-schema.org/draft-07/schema#".into());
    put(&mut schema, "title", "Workflow file of cov".into());
    schema
}
