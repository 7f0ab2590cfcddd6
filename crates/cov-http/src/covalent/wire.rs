//! The shapes of a manifest as the SDK writes it, for reading. Which values make sense together
//! is the business of `manifest`.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use cov_core::status::Status;
use cov_core::time::Timestamp;
use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A value that must be written as an object. Serde would take an array for it as well.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<T> std::ops::Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Manifest<'a> {
    #[serde(borrow)]
    pub(super) metadata: Object<DispatchMetadata<'a>>,
    #[expect(dead_code, reason = "must be there; what it announces is made by the server")]
    pub(super) assets: Object<DispatchAssets>,
    #[serde(borrow)]
    pub(super) lattice: Object<Lattice<'a>>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "times and states are the server's; they are checked, not used")]
pub(super) struct DispatchMetadata<'a> {
    #[serde(borrow)]
    pub(super) dispatch_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) root_dispatch_id: Cow<'a, str>,
    pub(super) status: Status,
    #[serde(default)]
    pub(super) start_time: Option<Timestamp>,
    #[serde(default)]
    pub(super) end_time: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "must be there; nothing is announced with them")]
pub(super) struct DispatchAssets {
    pub(super) result: Object<Asset>,
    pub(super) error: Object<Asset>,
}

/// What matters of an asset. The address for uploads in a request is stale or empty.
#[derive(Debug, Deserialize)]
pub(super) struct Asset {
    pub(super) size: u64,
    /// A file from which the server shall take the bytes by itself; mostly empty.
    #[serde(default)]
    pub(super) uri: Option<String>,
    #[serde(default)]
    pub(super) digest_alg: Option<String>,
    #[serde(default)]
    pub(super) digest: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Lattice<'a> {
    #[serde(borrow)]
    pub(super) metadata: Object<LatticeMetadata<'a>>,
    pub(super) assets: Object<LatticeAssets>,
    #[serde(borrow)]
    pub(super) transport_graph: Object<TransportGraph<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LatticeMetadata<'a> {
    pub(super) name: String,
    pub(super) executor: String,
    #[serde(borrow)]
    pub(super) executor_data: &'a RawValue,
    pub(super) workflow_executor: String,
    #[serde(borrow)]
    pub(super) workflow_executor_data: &'a RawValue,
    #[serde(default)]
    pub(super) python_version: Option<String>,
    #[serde(default)]
    pub(super) covalent_version: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LatticeAssets {
    pub(super) workflow_function: Object<Asset>,
    pub(super) workflow_function_string: Object<Asset>,
    pub(super) doc: Object<Asset>,
    pub(super) inputs: Object<Asset>,
    pub(super) hooks: Object<Asset>,
}

/// Nodes are read one by one in a second pass, so that their number is bounded while they are
/// read and no list of their wire form is ever in memory.
#[derive(Debug, Deserialize)]
pub(super) struct TransportGraph<'a> {
    #[serde(borrow)]
    pub(super) nodes: &'a RawValue,
    #[serde(borrow)]
    pub(super) links: Vec<Object<Link<'a>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Node<'a> {
    pub(super) id: u32,
    #[serde(borrow)]
    pub(super) metadata: Object<NodeMetadata<'a>>,
    pub(super) assets: Object<NodeAssets>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NodeMetadata<'a> {
    pub(super) task_group_id: u32,
    pub(super) name: String,
    #[serde(borrow)]
    pub(super) executor: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) executor_data: &'a RawValue,
    pub(super) status: Status,
    #[serde(default, rename = "sub_dispatch_id")]
    pub(super) _sub_dispatch_id: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(super) struct NodeAssets {
    pub(super) function: Object<Asset>,
    pub(super) function_string: Object<Asset>,
    pub(super) value: Object<Asset>,
    pub(super) output: Object<Asset>,
    pub(super) hooks: Object<Asset>,
    #[serde(default, rename = "error")]
    pub(super) _error: Option<IgnoredAny>,
    #[serde(default, rename = "stdout")]
    pub(super) _stdout: Option<IgnoredAny>,
    #[serde(default, rename = "stderr")]
    pub(super) _stderr: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Link<'a> {
    pub(super) source: u32,
    pub(super) target: u32,
    #[serde(borrow)]
    pub(super) metadata: Object<LinkMetadata<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LinkMetadata<'a> {
    #[serde(borrow)]
    pub(super) edge_name: Cow<'a, str>,
    #[serde(default)]
    pub(super) param_type: Option<ParamType>,
    #[serde(default)]
    pub(super) arg_index: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ParamType {
    Arg,
    Kwarg,
}
