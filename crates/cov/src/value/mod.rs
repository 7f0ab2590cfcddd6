//! Values on their way between electrons: encoding, decoding, putting together. The only module
//! of this crate that knows encodings. Moves no bytes between processes.

mod collect;
mod decode;
mod encode;
mod preview;
#[cfg(test)]
mod tests;

pub(crate) use collect::collect;
pub(crate) use decode::decode;
pub(crate) use encode::{archive, encode};
pub(crate) use preview::preview;

use cov_core::ids::NodeId;
use cov_core::transportable::TransportableObject;

/// The output of a node, as it reached a task.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) node: NodeId,
    pub(crate) object: TransportableObject,
}

/// Why a value did not cross. A sentence that names node, type and encodings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoCrossing(pub(crate) String);

impl serde::de::Error for NoCrossing {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}
