//! The vocabulary of the workflow dispatch infrastructure: what a server, a client, a runner and
//! a trigger have to agree on. Pure data and pure functions; no I/O, no async, no clock.
//!
//! ```
//! use cov_core::transportable::TransportableObject;
//! let object = TransportableObject::from_json("hello")?;
//! assert_eq!(object.object_string, "\"hello\"");
//! # Ok::<(), cov_core::transportable::Error>(())
//! ```

pub mod access;
pub mod array;
pub mod asset;
pub mod backup;
pub mod bundle;
pub mod command;
pub mod error;
pub mod executor;
pub mod frames;
pub mod graph;
pub mod ids;
pub mod json;
pub mod manifest;
pub mod pickle;
pub mod platform;
pub mod result;
pub mod state;
pub mod status;
pub mod time;
pub mod transportable;
pub mod trigger;
