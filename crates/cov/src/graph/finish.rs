//! From what was recorded to a manifest with its assets.

use std::collections::HashMap;

use cov_core::asset::{AssetAddress, AssetKey};
use cov_core::bundle::Bundle;
use cov_core::executor::ExecutorSpec;
use cov_core::graph::{EdgeKind, NodeKind};
use cov_core::ids::NodeId;
use cov_core::manifest::{LatticeInfo, ManifestNode};
use cov_core::status::Status;
use cov_core::transportable::{Encoding, TransportableObject};

use super::builder::{Builder, Record, Sink, Work};
use super::settings::{PYTHON, RUST};
use super::{Lattice, Nodes, Settings, Shape};
use crate::Error;
use crate::function::{COLLECT, Function, Target};
use crate::value::encode;

/// Name of the node that has the result.
const RESULT: &str = "result";

pub(super) fn finish<N: Nodes>(
    mut builder: Builder,
    output: &N,
) -> Result<Lattice<N::Value>, Error> {
    let collector = collector(&builder);
    add_result(&mut builder, output, collector);
    if let Some(fault) = builder.fault.take() {
        return Err(fault);
    }
    let Builder { name, defaults, inputs, nodes, edges, mut contents, .. } = builder;
    let mut writer = Writer::new(&defaults, collector);
    let mut assets = Vec::with_capacity(nodes.len());
    let mut listed = Vec::with_capacity(nodes.len());
    for (index, record) in nodes.into_iter().enumerate() {
        let id = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
        let Record { label, work, settings, .. } = record;
        let (kind, executor) = match work {
            Work::Value(content) => {
                assets.push((AssetAddress::of_node(id, AssetKey::Output), content));
                assets.push((AssetAddress::of_node(id, AssetKey::Value), content));
                (NodeKind::Parameter, 0)
            }
            Work::Forward => (NodeKind::Forward, 0),
            Work::Call { target, kind, output, shapes, path } => {
                let language = match (kind, target.is_rust()) {
                    (NodeKind::Postprocess, _) => collector,
                    (_, true) => RUST,
                    (_, false) => PYTHON,
                };
                let function = Function { target, output, args: shapes, path };
                let content = writer.function(function, |archive| contents.add(archive));
                assets.push((AssetAddress::of_node(id, AssetKey::Function), content));
                (kind, writer.executor(settings, language))
            }
        };
        let (name, status) = (label.into_owned(), Status::NewObject);
        listed.push(ManifestNode { name, kind, task_group: id, executor, status });
    }
    let default = defaults.spec(collector);
    let mut bundle = Bundle::new(LatticeInfo {
        name,
        workflow_executor: Settings::default().spec(collector),
        executor: default,
        python_version: None,
        sdk_version: None,
    });
    if let Ok(object) = encode(&serde_json::json!({ "args": [], "kwargs": inputs }), Encoding::Json)
    {
        let inputs = contents.add(object.to_archive());
        assets.push((AssetAddress::of_dispatch(AssetKey::Inputs), inputs));
    }
    bundle.manifest.nodes = listed;
    bundle.manifest.edges = edges;
    bundle.manifest.executors = writer.specs;
    for (bytes, content) in contents.into_named() {
        bundle.named_content(bytes, content);
    }
    assets.into_iter().for_each(|(address, content)| bundle.asset(address, content));
    Lattice::checked(bundle, writer.languages)
}

/// The language that puts the result together: Python where every electron is Python's, so that
/// no program has to be sent for it. What a running electron builds has its program at hand, and
/// the graph around it counts on the encoding that it asked for.
fn collector(builder: &Builder) -> &'static str {
    let mut calls = builder.nodes.iter().filter_map(|record| match &record.work {
        Work::Call { target, .. } => Some(target.is_rust()),
        Work::Value(_) | Work::Forward => None,
    });
    let some = calls.next();
    match some == Some(false) && calls.all(|rust| !rust) && crate::runner::context().is_none() {
        true => PYTHON,
        false => RUST,
    }
}

/// Adds the node that puts the result together, and has it wait for all that nobody waits for.
fn add_result<N: Nodes>(builder: &mut Builder, output: &N, collector: &'static str) {
    let mut encoding = if collector == RUST { builder.output } else { Encoding::Json };
    let recorded = builder.nodes.len();
    let mut sink = Sink::new(builder, RESULT, encoding != Encoding::Json);
    let mut shape = output.lay(&mut sink);
    let mut sources = sink.into_sources();
    if let (Shape::Value, [source]) = (&shape, sources.as_slice())
        && output_of(builder, *source) == Some(Encoding::Array)
    {
        encoding = Encoding::Array;
    } else if encoding != Encoding::Json
        && sources.iter().any(|source| needs_json(builder, *source))
    {
        // Values that were recorded for this alone are recorded again, in the common encoding.
        encoding = Encoding::Json;
        builder.forget_after(recorded);
        let mut sink = Sink::new(builder, RESULT, false);
        shape = output.lay(&mut sink);
        sources = sink.into_sources();
    }
    // One value that is encoded as it should be is the result as it stands.
    let forwards = shape == Shape::Value
        && matches!(sources.as_slice(), [one] if output_of(builder, *one) == Some(encoding));
    let last = builder.next_id();
    for (position, source) in (0..).zip(sources) {
        builder.edge(source, last, String::new(), EdgeKind::Arg(position));
    }
    let loose = builder.nodes.iter().zip(0..);
    let loose =
        loose.filter(|(record, _)| !record.awaited && matches!(record.work, Work::Call { .. }));
    let loose: Vec<NodeId> = loose.map(|(_, id)| NodeId(id)).collect();
    loose.into_iter().for_each(|id| builder.edge(id, last, String::new(), EdgeKind::Wait));
    let work = match forwards {
        true => Work::Forward,
        false => Work::Call {
            target: Target::Rust(COLLECT.into()),
            kind: NodeKind::Postprocess,
            output: encoding,
            shapes: if shape == Shape::Value { Vec::new() } else { vec![shape] },
            path: Vec::new(),
        },
    };
    // What the lattice's defaults say is meant for its electrons.
    let settings = Settings { executor: Some(collector.into()), ..Settings::default() };
    builder.nodes.push(Record { label: RESULT.into(), work, settings, awaited: false });
}

/// Whether the output of a node cannot be put together with others in bincode.
fn needs_json(builder: &Builder, id: NodeId) -> bool {
    matches!(output_of(builder, id), Some(Encoding::Json | Encoding::Array | Encoding::Cloudpickle))
}

fn output_of(builder: &Builder, id: NodeId) -> Option<Encoding> {
    match builder.nodes.get(id.index())?.work {
        Work::Call { output, .. } => Some(output),
        Work::Value(_) | Work::Forward => None,
    }
}

/// Writes executors and functions, each once.
struct Writer<'a> {
    defaults: &'a Settings,
    specs: Vec<ExecutorSpec>,
    /// The language whose electrons use the executor with the same index.
    languages: Vec<&'static str>,
    executors: HashMap<(Settings, &'static str), u32>,
    functions: HashMap<Function, u32>,
    /// Neighbours mostly call the same.
    latest: Option<(Function, u32)>,
}

impl<'a> Writer<'a> {
    fn new(defaults: &'a Settings, collector: &'static str) -> Self {
        let mut writer = Self {
            defaults,
            specs: Vec::new(),
            languages: Vec::new(),
            executors: HashMap::new(),
            functions: HashMap::new(),
            latest: None,
        };
        // Index 0, which nodes without a task name.
        writer.executor(Settings::default(), collector);
        writer
    }

    fn executor(&mut self, mut settings: Settings, language: &'static str) -> u32 {
        settings.or(self.defaults);
        let Self { specs, languages, executors, .. } = self;
        let key = (settings, language);
        if let Some(index) = executors.get(&key) {
            return *index;
        }
        let index = u32::try_from(specs.len()).unwrap_or(u32::MAX);
        specs.push(key.0.spec(language));
        languages.push(language);
        executors.insert(key, index);
        index
    }

    fn function(&mut self, function: Function, add: impl FnOnce(Vec<u8>) -> u32) -> u32 {
        if let Some((latest, content)) = &self.latest
            && *latest == function
        {
            return *content;
        }
        let content = match self.functions.get(&function) {
            Some(content) => *content,
            None => {
                let content = add(function_archive(&function));
                self.functions.insert(function.clone(), content);
                content
            }
        };
        self.latest = Some((function, content));
        content
    }
}

fn function_archive(function: &Function) -> Vec<u8> {
    // Strings, numbers and lists of them always have a JSON form.
    let object = TransportableObject::from_json(function);
    let object = object.map(|object| TransportableObject {
        object_string: function.target.name().to_owned(),
        ..object
    });
    object.map(|object| object.to_archive()).unwrap_or_default()
}
