//! What has to fit together in a model: names that are referred to, the order of the tasks, and
//! what is never used.

use std::collections::{HashMap, HashSet};

use super::fault::{Fault, Span, did_you_mean};
use super::model::{Action, Axis, Foreach, Model, Name, Outputs, Task};
use super::template::{InputForm, Reference, Target, TaskForm, Template};

/// Faults, and warnings beside them.
pub(super) fn check(model: &Model) -> Vec<Fault> {
    let mut checker = Checker {
        model,
        params: model.params.iter().map(|param| param.name.text.as_str()).collect(),
        tasks: model.tasks.iter().map(|task| (task.name.text.as_str(), task)).collect(),
        used: HashSet::new(),
        faults: Vec::new(),
    };
    for task in &model.tasks {
        checker.task(task);
    }
    checker.outputs();
    if checker.faults.is_empty() {
        checker.faults.extend(cycle(model));
    }
    checker.unused();
    checker.faults
}

struct Checker<'a> {
    model: &'a Model,
    params: Vec<&'a str>,
    tasks: HashMap<&'a str, &'a Task>,
    used: HashSet<&'a str>,
    faults: Vec<Fault>,
}

impl<'a> Checker<'a> {
    fn task(&mut self, task: &'a Task) {
        for name in &task.needs {
            self.known_task(&name.text, name.span);
        }
        for (_, axis) in &task.matrix {
            if let Axis::Param(name) = axis {
                self.known_param(name);
            }
        }
        match &task.foreach {
            Some((Foreach::Param(name), _)) => self.known_param(name),
            Some((Foreach::Task(name), _)) => {
                self.known_task(&name.text, name.span);
                let repeated = self.tasks.get(name.text.as_str()).is_none_or(|t| t.is_repeated());
                if !repeated {
                    let message = format!("the task `{}` is not repeated", name.text);
                    self.faults.push(Fault::new(name.span, message).help(
                        "`foreach` follows the instances of a task with `matrix` or `foreach`",
                    ));
                }
            }
            Some((Foreach::Glob(_) | Foreach::Values(_), _)) | None => {}
        }
        for template in task.templates() {
            self.template(task, template, false);
        }
        for template in task.fixed_templates() {
            self.template(task, template, true);
        }
        self.words(task);
        self.no_item_in_its_own_pattern(task);
    }

    fn template(&mut self, task: &'a Task, template: &'a Template, fixed: bool) {
        for reference in template.references() {
            self.reference(task, reference, fixed);
        }
    }

    fn reference(&mut self, task: &'a Task, reference: &'a Reference, fixed: bool) {
        let span = reference.span;
        match &reference.target {
            Target::Param(name) => {
                self.known_param(&Name { text: name.clone(), span });
                self.used.insert(name);
            }
            Target::Matrix(name) => self.known_variable(task, name, span),
            Target::Item(_) => self.known_item(task, span),
            Target::Workflow(_) => {}
            Target::Input(..) | Target::Task(..) if fixed => {
                self.faults.push(
                    Fault::new(span, "this has to be known before anything runs")
                        .help("only `params`, `matrix`, `item` and `workflow` can be used here"),
                );
            }
            Target::Input(name, form) => self.known_input(task, name, *form, span),
            Target::Task(name, form) => {
                self.known_task(name, span);
                if *name == task.name.text {
                    let message = format!("the task `{name}` takes its own output");
                    self.faults.push(Fault::new(span, message));
                }
                if matches!(task.action, Action::Python { .. }) && *form != TaskForm::Output {
                    self.faults.push(
                        Fault::new(span, "a Python function is given values, not files")
                            .help(format!("`tasks.{name}` is what the task gave")),
                    );
                }
            }
        }
    }

    fn known_item(&mut self, task: &'a Task, span: Span) {
        let is_source = |task: &&Task| !matches!(task.foreach, None | Some((Foreach::Task(_), _)));
        if self.followed(task).iter().any(is_source) {
            return;
        }
        let message = format!("the task `{}` has no item", task.name.text);
        self.faults.push(
            Fault::new(span, message)
                .help("`item` is what a task is repeated for by `foreach`: a file, or a value"),
        );
    }

    /// The task, the one whose instances it follows, and so on.
    fn followed(&self, task: &'a Task) -> Vec<&'a Task> {
        let mut chain = vec![task];
        while let Some(Task { foreach: Some((Foreach::Task(name), _)), .. }) = chain.last()
            && let Some(next) = self.tasks.get(name.text.as_str())
            && chain.len() <= self.tasks.len()
        {
            chain.push(next);
        }
        chain
    }

    fn known_variable(&mut self, task: &'a Task, name: &str, span: Span) {
        let known: Vec<&str> = self
            .followed(task)
            .iter()
            .flat_map(|task| &task.matrix)
            .map(|(name, _)| name.text.as_str())
            .collect();
        if !known.contains(&name) {
            let message = format!("the task `{}` has no variable `{name}`", task.name.text);
            let help = did_you_mean(name, known, "give it values: `matrix = { NAME = [1, 2] }`");
            self.faults.push(Fault::new(span, message).help(help));
        }
    }

    fn known_input(&mut self, task: &Task, name: &str, form: InputForm, span: Span) {
        let mut known = task.inputs.iter().map(|(name, _)| name.text.as_str());
        if !known.any(|input| input == name) {
            let known = task.inputs.iter().map(|(name, _)| name.text.as_str());
            let message = format!("the task `{}` has no input `{name}`", task.name.text);
            let help =
                did_you_mean(name, known, "name its file: `inputs = { NAME = \"data.csv\" }`");
            self.faults.push(Fault::new(span, message).help(help));
        }
        if matches!(task.action, Action::Python { .. }) && form == InputForm::Path {
            self.faults.push(
                Fault::new(span, "a Python function is given values, not files")
                    .help(format!("`inputs.{name}.text` is the content of the file")),
            );
        }
    }

    fn known_task(&mut self, name: &str, span: Span) {
        if self.tasks.contains_key(name) {
            return;
        }
        let known = self.model.tasks.iter().map(|task| task.name.text.as_str());
        let help = did_you_mean(name, known, "");
        self.faults.push(Fault::new(span, format!("there is no task `{name}`")).help(help));
    }

    fn known_param(&mut self, name: &Name) {
        if let Some(known) = self.params.iter().find(|known| **known == name.text) {
            self.used.insert(known);
            return;
        }
        let message = format!("there is no parameter `{}`", name.text);
        let help = did_you_mean(
            &name.text,
            self.params.iter().copied(),
            "describe it at the beginning: `[params]`",
        );
        self.faults.push(Fault::new(name.span, message).help(help));
    }

    /// What gives several words has to be a word of its own.
    fn words(&mut self, task: &Task) {
        let mut single = Vec::new();
        if let Action::Words(words) = &task.action {
            single.extend(words.iter().filter(|word| word.whole().is_none()));
        }
        single.extend(task.env.values());
        single.extend(&task.stdin);
        for reference in single.into_iter().flat_map(Template::references) {
            if let Target::Task(name, TaskForm::Files) = &reference.target {
                self.faults.push(
                    Fault::new(reference.span, "several paths do not fit here").help(format!(
                        "make `${{{{ tasks.{name}.files }}}}` a word of its own, or use `tasks.{name}.file`"
                    )),
                );
            }
        }
    }

    fn no_item_in_its_own_pattern(&mut self, task: &Task) {
        let Some((Foreach::Glob(pattern), _)) = &task.foreach else { return };
        for reference in pattern.references() {
            if let Target::Item(_) | Target::Matrix(_) = reference.target {
                self.faults.push(
                    Fault::new(reference.span, "this is not known while files are looked for")
                        .help("only `params` and `workflow` can be used in a pattern"),
                );
            }
        }
    }

    fn outputs(&mut self) {
        let names: Vec<&Name> = match &self.model.outputs {
            None => Vec::new(),
            Some(Outputs::One(name)) => vec![name],
            Some(Outputs::Named(named)) => named.iter().map(|(_, name)| name).collect(),
        };
        for name in names {
            self.known_task(&name.text, name.span);
        }
    }

    fn unused(&mut self) {
        for param in &self.model.params {
            if !self.used.contains(param.name.text.as_str()) {
                let message = format!("the parameter `{}` is never used", param.name.text);
                self.faults.push(Fault::new(param.name.span, message).warning());
            }
        }
    }
}

/// Tasks that wait for each other, if there are any: the way once around.
fn cycle(model: &Model) -> Option<Fault> {
    let index: HashMap<&str, usize> =
        model.tasks.iter().enumerate().map(|(at, task)| (task.name.text.as_str(), at)).collect();
    let parents: Vec<Vec<(usize, Span)>> = model
        .tasks
        .iter()
        .map(|task| {
            let known = task.parents().into_iter();
            known.filter_map(|(name, span)| Some((*index.get(name)?, span))).collect()
        })
        .collect();
    let around = find_cycle(&parents)?;
    let names: Vec<&str> = around
        .iter()
        .filter_map(|(at, _)| model.tasks.get(*at))
        .map(|task| task.name.text.as_str())
        .collect();
    let mut path = names.join(" → ");
    if let Some(first) = names.first() {
        path = format!("{path} → {first}");
    }
    let mut places = around.iter();
    let (_, first) = places.next()?;
    let mut fault = Fault::new(*first, format!("tasks wait for each other: {path}"));
    for ((_, span), name) in places.zip(names.iter().skip(1)).take(8) {
        fault = fault.also(*span, format!("`{name}` waits here"));
    }
    let name = names.first().copied().unwrap_or_default();
    Some(fault.label(format!("`{name}` waits here")).help("take one of these away"))
}

/// The nodes of a cycle, each with the place where it waits for the next.
fn find_cycle(parents: &[Vec<(usize, Span)>]) -> Option<Vec<(usize, Span)>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        Open,
        Done,
    }
    let mut seen = vec![Seen::Not; parents.len()];
    for start in 0..parents.len() {
        // A stack of its own: a chain of tasks is longer than what the program's stack holds.
        let mut open: Vec<(usize, usize)> = vec![(start, 0)];
        if seen.get(start) != Some(&Seen::Not) {
            continue;
        }
        if let Some(mark) = seen.get_mut(start) {
            *mark = Seen::Open;
        }
        while let Some((at, next)) = open.last_mut() {
            let (current, edge) = (*at, parents.get(*at).and_then(|edges| edges.get(*next)));
            *next += 1;
            let Some((parent, _)) = edge else {
                if let Some(mark) = seen.get_mut(current) {
                    *mark = Seen::Done;
                }
                open.pop();
                continue;
            };
            match seen.get(*parent) {
                Some(Seen::Open) => {
                    let begin = open.iter().position(|(at, _)| at == parent)?;
                    let place = |(at, next): &(usize, usize)| {
                        let edge = parents.get(*at).and_then(|edges| edges.get(*next - 1));
                        (*at, edge.map_or_else(Span::default, |(_, span)| *span))
                    };
                    return Some(open.get(begin..)?.iter().map(place).collect());
                }
                Some(Seen::Not) => {
                    if let Some(mark) = seen.get_mut(*parent) {
                        *mark = Seen::Open;
                    }
                    open.push((*parent, 0));
                }
                Some(Seen::Done) | None => {}
            }
        }
    }
    None
}
