//! The transport graph: a validated, acyclic graph as flat arrays. Once built it is trusted;
//! nobody checks its edges again. Holds no state of a run.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;

/// What a node is to the engine. Which names mean what is the business of the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A task that runs on an executor.
    Task,
    /// A value that came with the manifest; complete when reached.
    Parameter,
    /// A task that takes one value apart (item, attribute, unpacking). Runs, but without the
    /// callables that its parent's hooks would put around it.
    Helper,
    /// A task that builds a sub-dispatch, whose result becomes its output.
    Sublattice,
    /// The last task of a lattice; its end is the end of the dispatch, its output the result.
    Postprocess,
    /// The end of a lattice that returns what one of its nodes made: the output of its only
    /// argument is the result. Complete when reached; nothing runs for it.
    Forward,
}

impl NodeKind {
    /// All kinds, in the order of their stored numbers.
    pub const ALL: [Self; 6] = [
        Self::Task,
        Self::Parameter,
        Self::Helper,
        Self::Sublattice,
        Self::Postprocess,
        Self::Forward,
    ];

    /// Whether something runs for such a node.
    ///
    /// ```
    /// use cov_core::graph::NodeKind;
    /// assert!(NodeKind::Task.runs());
    /// assert!(!NodeKind::Parameter.runs());
    /// ```
    #[must_use]
    pub fn runs(self) -> bool {
        !matches!(self, Self::Parameter | Self::Forward)
    }

    /// Whether the output of such a node is what the dispatch returns.
    ///
    /// ```
    /// use cov_core::graph::NodeKind;
    /// assert!(NodeKind::Postprocess.ends_lattice());
    /// assert!(!NodeKind::Task.ends_lattice());
    /// ```
    #[must_use]
    pub fn ends_lattice(self) -> bool {
        matches!(self, Self::Postprocess | Self::Forward)
    }

    /// The number under which the kind is stored. Numbers are never reassigned.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Task => 0,
            Self::Parameter => 1,
            Self::Helper => 2,
            Self::Sublattice => 3,
            Self::Postprocess => 4,
            Self::Forward => 5,
        }
    }

    /// The kind stored under `code`.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// How the value of an edge's source reaches its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// As the positional argument with this index.
    Arg(u32),
    /// As the keyword argument with the edge's name.
    Kwarg,
    /// Not at all: the target only waits for the source.
    Wait,
}

/// One edge of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// The node whose output is passed on.
    pub source: NodeId,
    /// The node that takes it.
    pub target: NodeId,
    /// The parameter's name; ignored by waiting edges.
    #[serde(default)]
    pub name: String,
    /// How it is passed.
    pub kind: EdgeKind,
}

/// Why edges and nodes are no transport graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// More nodes than ids can count.
    #[error("{count} nodes are too many")]
    TooManyNodes {
        /// How many there are.
        count: usize,
    },
    /// An edge starts or ends at a node that does not exist.
    #[error("edge {edge} names node {node}, but there are only {nodes} nodes")]
    DanglingEdge {
        /// Index of the edge in the manifest.
        edge: usize,
        /// The missing node.
        node: NodeId,
        /// How many nodes there are.
        nodes: usize,
    },
    /// The nodes wait for each other.
    #[error("the graph has a cycle through node {node}")]
    Cycle {
        /// A node on, or below, the cycle.
        node: NodeId,
    },
    /// Two edges give the same argument of one node from different sources.
    #[error("edge {edge} gives node {node} an argument that another node gives already")]
    DuplicateArgument {
        /// Index of the later edge in the manifest.
        edge: usize,
        /// The node whose argument is given twice.
        node: NodeId,
    },
}

/// The inputs of one node, in the order in which its function takes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeInputs {
    /// Sources of the positional arguments.
    pub args: Vec<NodeId>,
    /// Names and sources of the keyword arguments.
    pub kwargs: Vec<(String, NodeId)>,
}

/// A validated transport graph.
///
/// ```
/// use cov_core::graph::{Edge, EdgeKind, Graph, NodeKind};
/// use cov_core::ids::NodeId;
/// let edge = Edge { source: NodeId(0), target: NodeId(1), name: "x".into(), kind: EdgeKind::Arg(0) };
/// let graph = Graph::new(&[NodeKind::Parameter, NodeKind::Task], &[edge])?;
/// assert_eq!(graph.inputs(NodeId(1)).args, [NodeId(0)]);
/// assert_eq!(graph.children(NodeId(0)), [NodeId(1)]);
/// # Ok::<(), cov_core::graph::GraphError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    kinds: Vec<NodeKind>,
    /// Targets of node `i`'s edges, one entry per edge: `children[offsets[i]..offsets[i + 1]]`.
    children: Vec<NodeId>,
    child_offsets: Vec<u32>,
    /// Incoming edges of node `i`, likewise.
    incoming: Vec<Incoming>,
    incoming_offsets: Vec<u32>,
    names: Vec<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Incoming {
    source: NodeId,
    name: u32,
    kind: EdgeKind,
}

impl Graph {
    /// Checks nodes (given by their kinds, in the order of their ids) and edges, and builds the
    /// graph. Parallel edges are legal. Takes time linear in nodes and edges.
    ///
    /// # Errors
    /// A dangling edge, an argument given twice, a cycle, or more than `u32::MAX` nodes or edges.
    pub fn new(kinds: &[NodeKind], edges: &[Edge]) -> Result<Self, GraphError> {
        let count = kinds.len().max(edges.len());
        if u32::try_from(count).is_err() {
            return Err(GraphError::TooManyNodes { count });
        }
        check_ends(kinds.len(), edges)?;
        let (children, child_offsets) =
            group(kinds.len(), edges, |edge| edge.source, |_, edge| edge.target);
        let (names, name_of_edge) = intern_names(edges);
        let (incoming, incoming_offsets) = group(
            kinds.len(),
            edges,
            |edge| edge.target,
            |index, edge| Incoming {
                source: edge.source,
                name: name_of_edge.get(index).copied().unwrap_or_default(),
                kind: edge.kind,
            },
        );
        let graph = Self {
            kinds: kinds.to_vec(),
            children,
            child_offsets,
            incoming,
            incoming_offsets,
            names,
        };
        let mut given = Vec::new();
        if graph.nodes().any(|node| gives_twice(graph.incoming_of(node), &mut given))
            && let Some(duplicate) = duplicate_argument(edges)
        {
            return Err(duplicate);
        }
        match graph.first_node_in_cycle() {
            Some(node) => Err(GraphError::Cycle { node }),
            None => Ok(graph),
        }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether there are no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// All node ids, ascending.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..u32::try_from(self.kinds.len()).unwrap_or(u32::MAX)).map(NodeId)
    }

    /// Whether `node` is in the graph.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        node.index() < self.kinds.len()
    }

    /// What `node` is; a node outside the graph is a `Task`.
    #[must_use]
    pub fn kind(&self, node: NodeId) -> NodeKind {
        self.kinds.get(node.index()).copied().unwrap_or(NodeKind::Task)
    }

    /// The targets of `node`'s edges, one entry per edge.
    #[must_use]
    pub fn children(&self, node: NodeId) -> &[NodeId] {
        slice_of(&self.children, &self.child_offsets, node)
    }

    /// How many edges end at `node`.
    #[must_use]
    pub fn in_degree(&self, node: NodeId) -> u32 {
        u32::try_from(self.incoming_of(node).len()).unwrap_or(u32::MAX)
    }

    /// The sources of the edges that end at `node`, one entry per edge.
    pub fn parents(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.incoming_of(node).iter().map(|edge| edge.source)
    }

    /// Where `node`'s arguments come from: positional ones by index, keywords in edge order.
    #[must_use]
    pub fn inputs(&self, node: NodeId) -> NodeInputs {
        let mut positional = Vec::new();
        let mut inputs = NodeInputs::default();
        for edge in self.incoming_of(node) {
            match edge.kind {
                EdgeKind::Arg(index) => positional.push((index, edge.source)),
                EdgeKind::Kwarg => inputs.kwargs.push((self.name(edge.name), edge.source)),
                EdgeKind::Wait => {}
            }
        }
        positional.sort_by_key(|(index, _)| *index);
        positional.dedup();
        inputs.args = positional.into_iter().map(|(_, source)| source).collect();
        inputs
    }

    /// The edges that end at `node`.
    pub fn edges_into(&self, node: NodeId) -> impl Iterator<Item = Edge> + '_ {
        self.incoming_of(node).iter().map(move |edge| Edge {
            source: edge.source,
            target: node,
            name: self.name(edge.name),
            kind: edge.kind,
        })
    }

    /// All edges, grouped by target in the order of node ids.
    pub fn edges(&self) -> impl Iterator<Item = Edge> + '_ {
        self.nodes().flat_map(|target| self.edges_into(target))
    }

    fn name(&self, index: u32) -> String {
        self.names.get(index as usize).map(ToString::to_string).unwrap_or_default()
    }

    fn incoming_of(&self, node: NodeId) -> &[Incoming] {
        slice_of(&self.incoming, &self.incoming_offsets, node)
    }

    fn first_node_in_cycle(&self) -> Option<NodeId> {
        let mut waiting_for: Vec<u32> = self.nodes().map(|node| self.in_degree(node)).collect();
        let mut reached: Vec<NodeId> =
            self.nodes().filter(|node| self.in_degree(*node) == 0).collect();
        let mut next = 0;
        while let Some(node) = reached.get(next).copied() {
            next += 1;
            for child in self.children(node) {
                let Some(count) = waiting_for.get_mut(child.index()) else { continue };
                *count -= 1;
                if *count == 0 {
                    reached.push(*child);
                }
            }
        }
        let unreached = waiting_for.iter().position(|count| *count > 0)?;
        u32::try_from(unreached).ok().map(NodeId)
    }
}

fn check_ends(nodes: usize, edges: &[Edge]) -> Result<(), GraphError> {
    for (index, edge) in edges.iter().enumerate() {
        for node in [edge.source, edge.target] {
            if node.index() >= nodes {
                return Err(GraphError::DanglingEdge { edge: index, node, nodes });
            }
        }
    }
    Ok(())
}

/// Whether two of the edges into one node give the same argument from different sources. `given` is
/// room that is used again from node to node.
fn gives_twice(into: &[Incoming], given: &mut Vec<((bool, u32), NodeId)>) -> bool {
    if into.len() < 2 {
        return false;
    }
    given.clear();
    given.extend(into.iter().filter_map(|edge| match edge.kind {
        EdgeKind::Arg(index) => Some(((false, index), edge.source)),
        EdgeKind::Kwarg => Some(((true, edge.name), edge.source)),
        EdgeKind::Wait => None,
    }));
    given.sort_unstable();
    given.windows(2).any(|pair| match pair {
        [(one, source), (other, another)] => one == other && source != another,
        _ => false,
    })
}

/// The first edge that gives an argument which another has given.
fn duplicate_argument(edges: &[Edge]) -> Option<GraphError> {
    let mut given: HashMap<(NodeId, EdgeKind, &str), NodeId> = HashMap::new();
    edges.iter().enumerate().find_map(|(index, edge)| {
        let argument = match edge.kind {
            EdgeKind::Arg(_) => (edge.target, edge.kind, ""),
            EdgeKind::Kwarg => (edge.target, edge.kind, edge.name.as_str()),
            EdgeKind::Wait => return None,
        };
        let differs = *given.entry(argument).or_insert(edge.source) != edge.source;
        differs.then_some(GraphError::DuplicateArgument { edge: index, node: edge.target })
    })
}

/// Counting sort of `edges` by `owner`, stable, with the offsets of each owner's run.
fn group<T: Copy>(
    nodes: usize,
    edges: &[Edge],
    owner: impl Fn(&Edge) -> NodeId,
    item: impl Fn(usize, &Edge) -> T,
) -> (Vec<T>, Vec<u32>) {
    let mut order: Vec<(NodeId, T)> =
        edges.iter().enumerate().map(|(i, edge)| (owner(edge), item(i, edge))).collect();
    order.sort_by_key(|(node, _)| *node);
    let mut offsets = vec![0_u32; nodes + 1];
    for (node, _) in &order {
        if let Some(count) = offsets.get_mut(node.index() + 1) {
            *count += 1;
        }
    }
    let mut sum = 0;
    for offset in &mut offsets {
        sum += *offset;
        *offset = sum;
    }
    (order.into_iter().map(|(_, item)| item).collect(), offsets)
}

fn slice_of<'a, T>(items: &'a [T], offsets: &[u32], node: NodeId) -> &'a [T] {
    let bounds = (offsets.get(node.index()), offsets.get(node.index() + 1));
    let (Some(start), Some(end)) = bounds else { return &[] };
    items.get(*start as usize..*end as usize).unwrap_or(&[])
}

fn intern_names(edges: &[Edge]) -> (Vec<Box<str>>, Vec<u32>) {
    let mut names: Vec<Box<str>> = Vec::new();
    let mut known: HashMap<&str, u32> = HashMap::new();
    // Neighbours mostly have the same.
    let mut latest: Option<(&str, u32)> = None;
    let of_edge = edges
        .iter()
        .map(|edge| {
            let name = edge.name.as_str();
            if let Some((same, index)) = latest
                && same == name
            {
                return index;
            }
            let index = *known.entry(name).or_insert_with(|| {
                names.push(name.into());
                u32::try_from(names.len() - 1).unwrap_or(u32::MAX)
            });
            latest = Some((name, index));
            index
        })
        .collect();
    (names, of_edge)
}

#[cfg(test)]
mod tests;
