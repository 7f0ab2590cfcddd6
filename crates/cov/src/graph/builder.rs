//! The builder underneath: nodes and edges as they are recorded, and the graph that is being
//! built on this thread. Faults are kept and told at the end, so that recording never fails.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use cov_core::graph::{Edge, EdgeKind, NodeKind};
use cov_core::ids::NodeId;
use cov_core::transportable::Encoding;
use serde::Serialize;

use super::contents::Contents;
use super::{Call, Lattice, Node, Nodes, Settings, Shape};
use crate::Error;
use crate::function::Target;
use crate::value::encode;

static GRAPHS: AtomicU32 = AtomicU32::new(1);

thread_local! {
    /// The graphs that are being built on this thread; the last one records.
    static ACTIVE: RefCell<Vec<Builder>> = const { RefCell::new(Vec::new()) };
}

/// A node as it was recorded.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) label: Cow<'static, str>,
    pub(super) work: Work,
    pub(super) settings: Settings,
    /// Whether another node takes its value or waits for it.
    pub(super) awaited: bool,
}

/// What a node does.
#[derive(Debug)]
pub(super) enum Work {
    /// It has a value; the index of its content.
    Value(u32),
    /// It hands on what another node made.
    Forward,
    /// It calls an electron.
    Call { target: Target, kind: NodeKind, output: Encoding, shapes: Vec<Shape>, path: Vec<String> },
}

/// Records a graph. What the attributes and [`super::build`] are made with; of use by itself where
/// a graph is put together in several places.
///
/// ```
/// use cov::graph::{Builder, Call};
/// let mut builder = Builder::new("by hand");
/// let sum = builder.scope(|| Call::rust("sums::add").arg(1).arg(2).node::<i64>());
/// let lattice = builder.finish(&sum)?;
/// assert_eq!(lattice.name(), "by hand");
/// # Ok::<(), cov::Error>(())
/// ```
#[derive(Debug)]
pub struct Builder {
    pub(super) graph: u32,
    pub(super) name: String,
    pub(super) defaults: Settings,
    pub(super) output: Encoding,
    pub(super) inputs: serde_json::Map<String, serde_json::Value>,
    pub(super) nodes: Vec<Record>,
    pub(super) edges: Vec<Edge>,
    pub(super) contents: Contents,
    /// The node of each value that was recorded, by its content.
    values: HashMap<u32, NodeId>,
    pub(super) fault: Option<Error>,
}

impl Builder {
    /// A graph without nodes.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            graph: GRAPHS.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            defaults: Settings::default(),
            output: Encoding::Bincode,
            inputs: serde_json::Map::new(),
            nodes: Vec::new(),
            edges: Vec::new(),
            contents: Contents::default(),
            values: HashMap::new(),
            fault: None,
        }
    }

    /// Says where and how often electrons run of which nothing else is said.
    #[must_use]
    pub fn defaults(mut self, settings: Settings) -> Self {
        self.defaults = settings;
        self
    }

    /// Has the result encoded so; bincode otherwise, or JSON when a Python electron makes part of
    /// it. JSON is what every client reads.
    #[must_use]
    pub fn output(mut self, encoding: Encoding) -> Self {
        self.output = encoding;
        self
    }

    /// Notes an argument of the lattice, for people and for the record of the dispatch. What has
    /// no JSON form is left out.
    #[must_use]
    pub fn input<T: Serialize>(mut self, name: &str, value: &T) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.inputs.insert(name.to_owned(), value);
        }
        self
    }

    /// Has this graph record what `body` calls.
    pub fn scope<R>(&mut self, body: impl FnOnce() -> R) -> R {
        /// Takes the graph off the stack when the body panics.
        struct Scope;
        impl Drop for Scope {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    ACTIVE.with_borrow_mut(Vec::pop);
                }
            }
        }
        let own = std::mem::replace(self, Self::new(""));
        ACTIVE.with_borrow_mut(|active| active.push(own));
        let _scope = Scope;
        let returned = body();
        if let Some(own) = ACTIVE.with_borrow_mut(Vec::pop) {
            *self = own;
        }
        returned
    }

    /// Ends the graph: `output` is its result.
    ///
    /// # Errors
    /// The first fault found.
    pub fn finish<N: Nodes>(self, output: &N) -> Result<Lattice<N::Value>, Error> {
        super::finish::finish(self, output)
    }

    pub(super) fn record<T>(&mut self, call: Call) -> Node<T> {
        let id = self.next_id();
        let Call { target, label, kind, output, settings, parameters, args, kwargs, path } = call;
        let mut position = 0;
        for (index, laid) in args.iter().enumerate() {
            let name = parameters.get(index).copied().unwrap_or("");
            for source in &laid.sources {
                self.edge(*source, id, name.to_owned(), EdgeKind::Arg(position));
                position += 1;
            }
        }
        for (name, laid) in kwargs {
            match (&laid.shape, laid.sources.as_slice()) {
                (Shape::Value, [source]) => self.edge(*source, id, name, EdgeKind::Kwarg),
                _ => self.fail(|| Error::Keyword { name, consumer: target.name().to_owned() }),
            }
        }
        let direct = args.iter().all(|laid| laid.shape == Shape::Value);
        let shapes = match direct {
            true => Vec::new(),
            false => args.into_iter().map(|laid| laid.shape).collect(),
        };
        let work = Work::Call { target, kind, output, shapes, path };
        self.nodes.push(Record { label, work, settings, awaited: false });
        Node::new(self.graph, id)
    }

    pub(super) fn edge(&mut self, source: NodeId, target: NodeId, name: String, kind: EdgeKind) {
        if let Some(record) = self.nodes.get_mut(source.index()) {
            record.awaited = true;
        }
        self.edges.push(Edge { source, target, name, kind });
    }

    pub(super) fn next_id(&self) -> NodeId {
        NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX))
    }

    /// A node that has this value; the same node for the same value.
    fn value_node<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        encoding: Encoding,
        consumer: &str,
    ) -> NodeId {
        let object = encode(value, encoding).unwrap_or_else(|error| {
            let (type_name, consumer) = (std::any::type_name::<T>(), consumer.to_owned());
            let reason = format!("{encoding}: {error}");
            self.fail(|| Error::Value { type_name, consumer, reason });
            crate::value::archive(encoding, String::new(), Vec::new())
        });
        let content = self.contents.add(object.to_archive());
        let id = self.next_id();
        let known = *self.values.entry(content).or_insert(id);
        if known == id {
            let label = Cow::Owned(object.object_string);
            let settings = Settings::default();
            self.nodes.push(Record { label, work: Work::Value(content), settings, awaited: false });
        }
        known
    }

    /// Forgets values that were recorded after the first `count` nodes.
    pub(super) fn forget_after(&mut self, count: usize) {
        self.nodes.truncate(count);
        self.values.retain(|_, id| id.index() < count);
    }

    pub(super) fn label(&mut self, graph: u32, id: NodeId, label: String) {
        if let Some(record) = self.own(graph, id) {
            record.label = Cow::Owned(label);
        }
    }

    pub(super) fn settings(&mut self, graph: u32, id: NodeId, change: impl FnOnce(&mut Settings)) {
        if let Some(record) = self.own(graph, id) {
            change(&mut record.settings);
        }
    }

    pub(super) fn wait_for<N: Nodes>(&mut self, graph: u32, id: NodeId, others: &N) {
        if self.own(graph, id).is_none() {
            return;
        }
        let mut sink = Sink::new(self, "", true);
        others.lay(&mut sink);
        for source in sink.into_sources() {
            self.edge(source, id, String::new(), EdgeKind::Wait);
        }
    }

    fn own(&mut self, graph: u32, id: NodeId) -> Option<&mut Record> {
        if graph != self.graph {
            let lattice = self.name.clone();
            self.fail(|| Error::ForeignNode { lattice });
            return None;
        }
        self.nodes.get_mut(id.index())
    }

    /// Keeps the first fault.
    pub(super) fn fail(&mut self, fault: impl FnOnce() -> Error) {
        self.fault.get_or_insert_with(fault);
    }
}

/// Runs `f` on the graph that is being built on this thread.
#[track_caller]
#[expect(
    clippy::panic,
    reason = "documented at every public way here: a program that calls it so is wrong"
)]
pub(super) fn with_active<R>(f: impl FnOnce(&mut Builder) -> R) -> R {
    let place = std::panic::Location::caller();
    ACTIVE.with_borrow_mut(|active| match active.last_mut() {
        Some(builder) => f(builder),
        None => panic!(
            "{place}: nodes are recorded inside of a lattice only. To run an electron here, call it \
             as the function that it is; to build a graph, use #[lattice] or cov::graph::build"
        ),
    })
}

/// Where an argument is recorded. For this crate alone.
#[derive(Debug)]
pub struct Sink<'a> {
    builder: &'a mut Builder,
    /// What takes the argument.
    consumer: &'a str,
    encoding: Encoding,
    sources: Vec<NodeId>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(builder: &'a mut Builder, consumer: &'a str, rust: bool) -> Self {
        let encoding = if rust { Encoding::Bincode } else { Encoding::Json };
        Self { builder, consumer, encoding, sources: Vec::new() }
    }

    /// Where the values come from, in order.
    pub(super) fn into_sources(self) -> Vec<NodeId> {
        self.sources
    }

    /// Records a value.
    pub(super) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Shape {
        let node = self.builder.value_node(value, self.encoding, self.consumer);
        self.sources.push(node);
        Shape::Value
    }

    /// Records numbers.
    pub(super) fn array<T: Serialize + ?Sized>(&mut self, value: &T) -> Shape {
        let node = self.builder.value_node(value, Encoding::Array, self.consumer);
        self.sources.push(node);
        Shape::Value
    }

    /// Records that the value of a node is taken.
    pub(super) fn node(&mut self, graph: u32, id: NodeId) -> Shape {
        let encoding = self.encoding;
        if let Some(record) = self.builder.own(graph, id)
            && let Work::Call { output, .. } = &mut record.work
            && encoding == Encoding::Json
            && *output == Encoding::Bincode
        {
            *output = Encoding::Json;
        }
        self.sources.push(id);
        Shape::Value
    }
}
