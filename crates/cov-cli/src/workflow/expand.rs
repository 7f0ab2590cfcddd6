//! From tasks to their instances: the combinations of a matrix, times what `foreach` says.

use std::collections::HashMap;

use super::Folder;
use super::fault::Fault;
use super::model::{Axis, Foreach, Model, Scalar, Task};
use super::settings::Settings;
use super::template::{ItemPart, Piece, Target, Template, WorkflowPart};

/// Most instances of one task.
pub(crate) const INSTANCES_MAX: usize = 50_000;

/// Most instances of all tasks.
pub(crate) const NODES_MAX: usize = 200_000;

/// One run of a task.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Instance {
    /// Its variables, those of the instance that it follows included.
    pub(crate) matrix: Vec<(String, Scalar)>,
    /// What it is repeated for.
    pub(crate) item: Option<Scalar>,
    /// The instance of another task that it follows.
    pub(crate) follows: Option<usize>,
}

impl Instance {
    /// What tells it from the others of its task, for people.
    pub(crate) fn label(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        if let Some(item) = &self.item {
            let text = item.text();
            parts.push(text.rsplit('/').next().unwrap_or(&text).to_owned());
        }
        parts.extend(self.matrix.iter().map(|(name, value)| format!("{name}={}", value.text())));
        match parts.is_empty() {
            true => String::new(),
            false => format!("[{}]", parts.join(", ")),
        }
    }
}

/// What is fixed for one run of the workflow.
pub(super) struct Context<'a> {
    pub(super) settings: &'a Settings,
    pub(super) folder: &'a dyn Folder,
    pub(super) name: &'a str,
}

/// The instances of every task, in the order of the tasks.
pub(super) fn instances(
    model: &Model,
    order: &[usize],
    context: &Context<'_>,
) -> Result<Vec<Vec<Instance>>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut all: Vec<Vec<Instance>> = vec![Vec::new(); model.tasks.len()];
    let index: HashMap<&str, usize> =
        model.tasks.iter().enumerate().map(|(at, task)| (task.name.text.as_str(), at)).collect();
    let mut count = 0;
    for at in order {
        let Some(task) = model.tasks.get(*at) else { continue };
        let followed = match &task.foreach {
            Some((Foreach::Task(name), _)) => {
                let parent = index.get(name.text.as_str()).and_then(|parent| all.get(*parent));
                parent.cloned().unwrap_or_default()
            }
            _ => Vec::new(),
        };
        match of_task(task, followed, context) {
            Ok(instances) => {
                count += instances.len();
                if let Some(place) = all.get_mut(*at) {
                    *place = instances;
                }
            }
            Err(fault) => faults.push(fault),
        }
        if count > NODES_MAX {
            let message = format!("the workflow runs more than {NODES_MAX} tasks");
            faults.push(Fault::new(task.name.span, message));
            break;
        }
    }
    if faults.is_empty() { Ok(all) } else { Err(faults) }
}

fn of_task(
    task: &Task,
    followed: Vec<Instance>,
    context: &Context<'_>,
) -> Result<Vec<Instance>, Fault> {
    let too_many = || {
        let message = format!("the task `{}` runs more than {INSTANCES_MAX} times", task.name.text);
        Fault::new(task.name.span, message)
    };
    let item = |item: Scalar| Instance { item: Some(item), ..Instance::default() };
    let mut instances: Vec<Instance> = match &task.foreach {
        None => vec![Instance::default()],
        Some((Foreach::Task(_), _)) => {
            let follow = |(at, instance)| Instance { follows: Some(at), ..instance };
            followed.into_iter().enumerate().map(follow).collect()
        }
        Some((Foreach::Values(values), _)) => values.iter().cloned().map(item).collect(),
        Some((Foreach::Param(name), _)) => match context.settings.get(&name.text) {
            Some(setting) => setting.scalars().iter().cloned().map(item).collect(),
            None => Vec::new(),
        },
        Some((Foreach::Glob(pattern), span)) => {
            let pattern = render(pattern, &Instance::default(), context);
            let found = context.folder.glob(&pattern, INSTANCES_MAX);
            let found = found.map_err(|why| Fault::new(*span, format!("`{pattern}`: {why}")))?;
            if found.is_empty() {
                return Err(Fault::new(*span, format!("no file matches `{pattern}`"))
                    .help(format!("patterns are relative to {}", context.folder.path())));
            }
            found.into_iter().map(|path| item(Scalar::Text(path))).collect()
        }
    };
    for (name, axis) in &task.matrix {
        let values = match axis {
            Axis::Values(values) => values.as_slice(),
            Axis::Param(param) => context
                .settings
                .get(&param.text)
                .map(super::model::Setting::scalars)
                .unwrap_or_default(),
        };
        let count = instances.len().checked_mul(values.len());
        if count.is_none_or(|count| count > INSTANCES_MAX) {
            return Err(too_many());
        }
        instances = instances
            .iter()
            .flat_map(|instance| values.iter().map(move |value| (instance, value)))
            .map(|(instance, value)| {
                let mut instance = instance.clone();
                instance.matrix.retain(|(known, _)| *known != name.text);
                instance.matrix.push((name.text.clone(), value.clone()));
                instance
            })
            .collect();
    }
    if instances.is_empty() {
        return Err(Fault::new(
            task.name.span,
            format!("the task `{}` never runs", task.name.text),
        )
        .help("a list that it is repeated for is empty"));
    }
    if instances.len() > INSTANCES_MAX {
        return Err(too_many());
    }
    Ok(instances)
}

/// A text in which nothing is referred to that only the run brings.
pub(super) fn render(template: &Template, instance: &Instance, context: &Context<'_>) -> String {
    let mut text = String::new();
    for piece in &template.pieces {
        match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Reference(reference) => {
                let words = words(&reference.target, instance, context).unwrap_or_default();
                text.push_str(&words.join(" "));
            }
        }
    }
    text
}

/// What a reference stands for, if that is known before anything runs: several words for a list.
pub(super) fn words(
    target: &Target,
    instance: &Instance,
    context: &Context<'_>,
) -> Option<Vec<String>> {
    match target {
        Target::Param(name) => {
            let setting = context.settings.get(name)?;
            Some(setting.scalars().iter().map(Scalar::text).collect())
        }
        Target::Matrix(name) => {
            let (_, value) = instance.matrix.iter().find(|(known, _)| known == name)?;
            Some(vec![value.text()])
        }
        Target::Item(part) => Some(vec![item_part(&instance.item.as_ref()?.text(), *part)]),
        Target::Workflow(WorkflowPart::Name) => Some(vec![context.name.to_owned()]),
        Target::Workflow(WorkflowPart::Folder) => Some(vec![context.folder.path().to_owned()]),
        Target::Input(..) | Target::Task(..) => None,
    }
}

fn item_part(text: &str, part: ItemPart) -> String {
    let (folder, name) = text.rsplit_once('/').unwrap_or(("", text));
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        _ => (name, ""),
    };
    match part {
        ItemPart::Whole => text,
        ItemPart::Name => name,
        ItemPart::Stem => stem,
        ItemPart::Extension => extension,
        ItemPart::Folder => folder,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_parts() {
        let parts = |text| {
            [ItemPart::Name, ItemPart::Stem, ItemPart::Extension, ItemPart::Folder]
                .map(|part| item_part(text, part))
        };
        assert_eq!(parts("/data/a.tar.gz"), ["a.tar.gz", "a.tar", "gz", "/data"]);
        assert_eq!(parts(".profile"), [".profile", ".profile", "", ""]);
        assert_eq!(parts("plain"), ["plain", "plain", "", ""]);
    }
}
