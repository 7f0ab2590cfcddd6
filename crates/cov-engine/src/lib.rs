//! The decisions: what follows from what, in the life of a dispatch and among dispatches that
//! want the same slots. Pure: no I/O, no clock, no randomness, no async. Time comes in with
//! every event, and everything that shall happen outside goes out as an effect.
//!
//! ```
//! use cov_core::executor::ExecutorSpec;
//! use cov_core::graph::{Graph, NodeKind};
//! use cov_core::ids::{DispatchId, NodeId};
//! use cov_core::time::Timestamp;
//! use cov_engine::dispatch::{Dispatch, Plan};
//! use cov_engine::effect::Effect;
//! use cov_engine::event::Event;
//! use cov_engine::machine::apply;
//!
//! let graph = Graph::new(&[NodeKind::Task], &[])?;
//! let plan = Plan { graph, executor_of: vec![0], policies: vec![ExecutorSpec::default().policy()] };
//! let mut dispatch = Dispatch::new(plan);
//! let step = apply(&mut dispatch, Event::Start, Timestamp::from_micros(0)).unwrap();
//! assert_eq!(step.effects, [Effect::Enqueue { node: NodeId(0), executor: 0 }]);
//! # Ok::<(), cov_core::graph::GraphError>(())
//! ```

#![deny(clippy::wildcard_enum_match_arm, clippy::indexing_slicing)]

pub mod dispatch;
pub mod effect;
pub mod event;
pub mod invariants;
pub mod machine;
pub mod phase;
pub mod redispatch;
pub mod retry;
pub mod scheduler;
