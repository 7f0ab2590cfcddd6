//! From a model with its values to a manifest with its assets.

use std::collections::HashMap;

use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::bundle::Bundle;
use cov_core::command::{self, Collect, Work};
use cov_core::executor::ExecutorSpec;
use cov_core::graph::{Edge, EdgeKind, NodeKind};
use cov_core::ids::NodeId;
use cov_core::manifest::{LatticeInfo, ManifestNode};
use cov_core::status::Status;
use serde_json::{Map, Value, json};

use super::contents::{self, Contents};
use super::engines::Engine;
use super::expand::{self, Context, Instance};
use super::fault::Fault;
use super::model::{Action, Model, Outputs, Task};
use super::node::Work as NodeWork;
use super::settings::Settings;
use super::{Folder, Plan};

/// Most edges of a workflow.
const EDGES_MAX: usize = 2_000_000;

/// The executor of Python functions.
const PYTHON: &str = "local";

/// Makes the plan of a checked model.
pub(super) fn plan(
    model: &Model,
    name: &str,
    settings: &Settings,
    folder: &dyn Folder,
) -> Result<Plan, Vec<Fault>> {
    let context = Context { settings, folder, name };
    let order = order(model);
    let instances = expand::instances(model, &order, &context)?;
    let mut planner = Planner::new(model, &instances, context);
    for at in &order {
        planner.task(*at).map_err(|fault| vec![fault])?;
    }
    planner.result();
    let triggers = model.triggers.iter().map(|trigger| {
        let mut dictionary = trigger.dictionary.clone();
        if let Some(path) = &trigger.folder {
            let path = contents::absolute(folder.path(), path);
            dictionary.insert("dir_path".to_owned(), path.into());
        }
        dictionary
    });
    let triggers = triggers.collect();
    let tasks = planner.tasks_count;
    Ok(Plan { name: name.to_owned(), tasks, triggers, bundle: planner.bundle() })
}

/// The tasks, each after those that it waits for.
fn order(model: &Model) -> Vec<usize> {
    let index: HashMap<&str, usize> =
        model.tasks.iter().enumerate().map(|(at, task)| (task.name.text.as_str(), at)).collect();
    let mut waiting = vec![0_usize; model.tasks.len()];
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); model.tasks.len()];
    for (at, task) in model.tasks.iter().enumerate() {
        for (parent, _) in task.parents() {
            let Some(list) = index.get(parent).and_then(|parent| children.get_mut(*parent)) else {
                continue;
            };
            list.push(at);
            if let Some(count) = waiting.get_mut(at) {
                *count += 1;
            }
        }
    }
    let mut order: Vec<usize> =
        waiting.iter().enumerate().filter(|(_, count)| **count == 0).map(|(at, _)| at).collect();
    let mut next = 0;
    while let Some(at) = order.get(next).copied() {
        next += 1;
        for child in children.get(at).map(Vec::as_slice).unwrap_or_default() {
            let Some(count) = waiting.get_mut(*child) else { continue };
            *count -= 1;
            if *count == 0 {
                order.push(*child);
            }
        }
    }
    order
}

/// Gathers nodes, edges and assets.
pub(super) struct Planner<'a> {
    pub(super) model: &'a Model,
    pub(super) instances: &'a [Vec<Instance>],
    pub(super) context: Context<'a>,
    pub(super) index: HashMap<&'a str, usize>,
    /// The node of each instance.
    placed: Vec<Vec<NodeId>>,
    nodes: Vec<ManifestNode>,
    edges: Vec<Edge>,
    executors: Vec<ExecutorSpec>,
    known_executors: HashMap<String, u32>,
    assets: Vec<(AssetAddress, u32)>,
    pub(super) contents: Contents,
    /// The nodes that have values, by content.
    values: HashMap<u32, NodeId>,
    /// The nodes of input files, by path.
    files: HashMap<String, NodeId>,
    awaited: Vec<bool>,
    tasks_count: usize,
}

impl<'a> Planner<'a> {
    fn new(model: &'a Model, instances: &'a [Vec<Instance>], context: Context<'a>) -> Self {
        let names = model.tasks.iter().enumerate();
        let mut planner = Self {
            model,
            instances,
            context,
            index: names.map(|(at, task)| (task.name.text.as_str(), at)).collect(),
            placed: vec![Vec::new(); model.tasks.len()],
            nodes: Vec::new(),
            edges: Vec::new(),
            executors: Vec::new(),
            known_executors: HashMap::new(),
            assets: Vec::new(),
            contents: Contents::default(),
            values: HashMap::new(),
            files: HashMap::new(),
            awaited: vec![false; model.tasks.len()],
            tasks_count: 0,
        };
        // Index 0, which nodes without a task name.
        planner.executor(command::EXECUTOR, Map::new());
        planner
    }

    fn executor(&mut self, name: &str, attributes: Map<String, Value>) -> u32 {
        let data = json!({ "attributes": attributes });
        let key = format!("{name} {data}");
        if let Some(index) = self.known_executors.get(&key) {
            return *index;
        }
        let index = u32::try_from(self.executors.len()).unwrap_or(u32::MAX);
        self.executors.push(ExecutorSpec { name: name.to_owned(), data });
        self.known_executors.insert(key, index);
        index
    }

    fn node(&mut self, name: String, kind: NodeKind, executor: u32) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let status = Status::NewObject;
        self.nodes.push(ManifestNode { name, kind, task_group: id, executor, status });
        id
    }

    /// The node that has a value.
    pub(super) fn value(&mut self, archive: Vec<u8>, name: String) -> NodeId {
        let content = self.contents.add(archive);
        if let Some(node) = self.values.get(&content) {
            return *node;
        }
        let node = self.node(name, NodeKind::Parameter, 0);
        self.assets.push((AssetAddress::of_node(node, AssetKey::Output), content));
        self.assets.push((AssetAddress::of_node(node, AssetKey::Value), content));
        self.values.insert(content, node);
        node
    }

    /// The node that has the content of a file.
    pub(super) fn file(&mut self, path: &str) -> Result<NodeId, String> {
        let path = contents::absolute(self.context.folder.path(), path);
        if let Some(node) = self.files.get(&path) {
            return Ok(*node);
        }
        let room = contents::BYTES_MAX.saturating_sub(self.contents.bytes());
        let bytes = self.context.folder.read(&path, room.min(contents::FILE_BYTES_MAX))?;
        let node = self.value(contents::file_archive(bytes), path.clone());
        self.files.insert(path, node);
        Ok(node)
    }

    /// The instances of a task that an instance of another one refers to: the one that it follows,
    /// directly or through others, or all.
    pub(super) fn referred(
        &self,
        at: usize,
        instance: &Instance,
        name: &str,
    ) -> (usize, std::ops::Range<usize>) {
        use super::model::Foreach;
        let target = self.index.get(name).copied().unwrap_or(usize::MAX);
        let all = self.instances.get(target).map_or(0, Vec::len);
        let (mut task, mut follows) = (self.model.tasks.get(at), instance.follows);
        while let (Some(Task { foreach: Some((Foreach::Task(parent), _)), .. }), Some(number)) =
            (task, follows)
        {
            if parent.text == name {
                return (target, number..number + 1);
            }
            let parent = self.index.get(parent.text.as_str()).copied().unwrap_or(usize::MAX);
            task = self.model.tasks.get(parent);
            follows = self
                .instances
                .get(parent)
                .and_then(|all| all.get(number))
                .and_then(|instance| instance.follows);
        }
        (target, 0..all)
    }

    /// The node of an instance.
    pub(super) fn place(&self, task: usize, instance: usize) -> Option<NodeId> {
        self.placed.get(task)?.get(instance).copied()
    }

    fn task(&mut self, at: usize) -> Result<(), Fault> {
        let Some(task) = self.model.tasks.get(at) else { return Ok(()) };
        let (name, attributes) = settings_of(task);
        for parent in task.parents() {
            if let Some(awaited) = self.index.get(parent.0).and_then(|at| self.awaited.get_mut(*at))
            {
                *awaited = true;
            }
        }
        let source = self.contents.add(contents::source(task));
        for instance in self.instances.get(at).map(Vec::as_slice).unwrap_or_default() {
            let work = NodeWork::of(self, at, task, instance)?;
            let mut attributes = attributes.clone();
            if let (Action::Python { .. }, Some(workdir)) = (&task.action, &work.workdir) {
                attributes.insert("workdir".to_owned(), workdir.as_str().into());
            }
            let executor = self.executor(name, attributes);
            let label = format!("{}{}", task.name.text, instance.label());
            let node = self.node(label, NodeKind::Task, executor);
            let content = self.contents.add(work.function);
            self.assets.push((AssetAddress::of_node(node, AssetKey::Function), content));
            self.assets.push((AssetAddress::of_node(node, AssetKey::FunctionString), source));
            self.connect(node, work.args, work.kwargs, work.waits);
            if self.edges.len() > EDGES_MAX {
                let message = format!("the workflow has more than {EDGES_MAX} connections");
                return Err(Fault::new(task.name.span, message).help(
                    "gather the outputs of a repeated task once, and use what was gathered",
                ));
            }
            if let Some(placed) = self.placed.get_mut(at) {
                placed.push(node);
            }
            self.tasks_count += 1;
        }
        Ok(())
    }

    fn connect(
        &mut self,
        node: NodeId,
        args: Vec<NodeId>,
        kwargs: Vec<(String, NodeId)>,
        waits: Vec<NodeId>,
    ) {
        let args = (0..).zip(args).map(|(at, source)| (source, String::new(), EdgeKind::Arg(at)));
        let kwargs = kwargs.into_iter().map(|(name, source)| (source, name, EdgeKind::Kwarg));
        let waits = waits.into_iter().map(|source| (source, String::new(), EdgeKind::Wait));
        for (source, name, kind) in args.chain(kwargs).chain(waits) {
            self.edges.push(Edge { source, target: node, name, kind });
        }
    }

    /// Adds the node that has the result, which waits for everything.
    fn result(&mut self) {
        let placed = std::mem::take(&mut self.placed);
        let of = |name: &str| {
            let at = self.index.get(name).copied();
            at.and_then(|at| placed.get(at)).map(Vec::as_slice).unwrap_or_default()
        };
        let is_repeated = |name: &str| {
            let at = self.index.get(name).and_then(|at| self.model.tasks.get(*at));
            at.is_some_and(Task::is_repeated)
        };
        let ends: Vec<&str> = self
            .model
            .tasks
            .iter()
            .zip(&self.awaited)
            .filter(|(_, awaited)| !**awaited)
            .map(|(task, _)| task.name.text.as_str())
            .collect();
        let single = match (&self.model.outputs, ends.as_slice()) {
            (Some(Outputs::One(name)), _) => Some(name.text.as_str()),
            (None, [name]) => Some(*name),
            (Some(Outputs::Named(_)) | None, _) => None,
        };
        let named: Vec<(&str, &str)> = match &self.model.outputs {
            Some(Outputs::Named(named)) => {
                named.iter().map(|(name, task)| (name.as_str(), task.text.as_str())).collect()
            }
            Some(Outputs::One(_)) | None => ends.iter().map(|name| (*name, *name)).collect(),
        };
        let (collect, args) = match single {
            Some(name) if is_repeated(name) => (Some(Collect::List), of(name).to_vec()),
            // The output of one task is the result as it stands.
            Some(name) => (None, of(name).to_vec()),
            None => {
                let count = |task: &str| u32::try_from(of(task).len()).unwrap_or(u32::MAX);
                let member = |(name, task): &(&str, &str)| {
                    ((*name).to_owned(), is_repeated(task).then(|| count(task)))
                };
                let args = named.iter().flat_map(|(_, task)| of(task)).copied().collect();
                (Some(Collect::Map(named.iter().map(member).collect())), args)
            }
        };
        let waits = ends.iter().flat_map(|name| of(name)).copied();
        let waits: Vec<NodeId> = waits.filter(|node| !args.contains(node)).collect();
        let kind = if collect.is_some() { NodeKind::Postprocess } else { NodeKind::Forward };
        let node = self.node("result".to_owned(), kind, 0);
        if let Some(collect) = collect {
            let function = contents::function(&json!(Work::Collect(collect)), "collect");
            let content = self.contents.add(function);
            self.assets.push((AssetAddress::of_node(node, AssetKey::Function), content));
        }
        self.connect(node, args, Vec::new(), waits);
    }

    fn bundle(mut self) -> Bundle {
        let settings = self.context.settings.iter();
        let values: Map<String, Value> =
            settings.map(|(name, setting)| (name.clone(), setting.to_json())).collect();
        let inputs = contents::function(&json!({ "args": [], "kwargs": values }), "");
        let inputs = self.contents.add(inputs);
        self.assets.push((AssetAddress::of_dispatch(AssetKey::Inputs), inputs));
        if let Some(text) = self.model.description.as_ref().filter(|text| !text.is_empty()) {
            let doc = self.contents.add(text.clone().into_bytes());
            self.assets.push((AssetAddress::of_dispatch(AssetKey::Doc), doc));
        }
        let executor = self.executors.first().cloned().unwrap_or_default();
        let mut bundle = Bundle::new(LatticeInfo {
            name: self.context.name.to_owned(),
            workflow_executor: executor.clone(),
            executor,
            python_version: None,
            sdk_version: None,
        });
        bundle.manifest.nodes = self.nodes;
        bundle.manifest.edges = self.edges;
        bundle.manifest.executors = self.executors;
        for bytes in self.contents.into_bytes() {
            bundle.content(bytes);
        }
        self.assets.into_iter().for_each(|(address, content)| bundle.asset(address, content));
        bundle
    }
}

/// The executor of a task, and what it is told.
fn settings_of(task: &Task) -> (&str, Map<String, Value>) {
    let mut attributes = Map::new();
    if let Some(retries) = task.retries {
        attributes.insert("retries".to_owned(), retries.into());
    }
    if let Some(limit) = task.time_limit {
        attributes.insert("time_limit".to_owned(), limit.as_secs_f64().into());
    }
    match (&task.action, &task.on) {
        (Action::Words(_) | Action::Shell { .. }, on) => {
            if let Some(Engine { name, attributes: told }) = on {
                let on = json!({ "name": name, "data": { "attributes": told } });
                attributes.insert("on".to_owned(), on);
            }
            (command::EXECUTOR, attributes)
        }
        (Action::Python { .. }, None) => (PYTHON, attributes),
        (Action::Python { .. }, Some(Engine { name, attributes: told })) => {
            attributes.extend(told.clone());
            (name, attributes)
        }
    }
}
