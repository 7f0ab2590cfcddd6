//! The senses: triggers that watch the outside and run a workflow again when something happens.
//! The only watcher of the outside. Acts on dispatches only through [`TriggerHost`].
//!
//! A [`Trigger`] is connected to a dispatch. Its first firing starts that dispatch if it never
//! ran; each later one makes a new dispatch of the same workflow. A [`Service`] owns all triggers
//! of a server: it is started over a [`TriggerHost`], which keeps what has to survive, and is
//! spoken to through [`Triggers`]. Each event of a trigger is decided once, and each decision
//! leaves a row that says why.
//!
//! # Features
//!
//! None by default. Trigger types: `time`, `cron`, `webhook`, `dir`, `sqlite`, `postgres`,
//! `mysql`; [`BaseTrigger`] is always there. `test-util`: a host in memory, and the suite of
//! behaviours that every trigger type passes.
//!
//! # A trigger type of your own
//!
//! ```
//! use async_trait::async_trait;
//! use cov_triggers::{Base, Error, Event, Fields, Observer, Registry, Source, Trigger, TriggerExt};
//! use serde_json::{Map, Value};
//!
//! /// Fires when a process says something on its socket.
//! #[derive(Debug)]
//! struct LineTrigger {
//!     base: Base,
//!     address: String,
//! }
//!
//! impl LineTrigger {
//!     fn from_fields(fields: &mut Fields) -> Result<Self, Error> {
//!         Ok(Self { base: Base::default(), address: fields.text("address")? })
//!     }
//! }
//!
//! #[async_trait]
//! impl Trigger for LineTrigger {
//!     fn name(&self) -> &str {
//!         "LineTrigger"
//!     }
//!     fn base(&self) -> &Base {
//!         &self.base
//!     }
//!     fn base_mut(&mut self) -> &mut Base {
//!         &mut self.base
//!     }
//!     fn own_fields(&self, fields: &mut Map<String, Value>) {
//!         fields.insert("address".to_owned(), self.address.clone().into());
//!     }
//!     fn source(&self) -> Source {
//!         Source::Observed
//!     }
//!     async fn observe(&self, observer: &mut Observer) -> Result<(), Error> {
//!         let failed = |error: std::io::Error| Error::Observe(error.to_string());
//!         let stream = tokio::net::TcpStream::connect(&self.address).await.map_err(failed)?;
//!         observer.healthy().await;
//!         loop {
//!             tokio::select! {
//!                 () = observer.stopped() => return Ok(()),
//!                 readable = stream.readable() => readable.map_err(failed)?,
//!             }
//!             let mut line = [0; 512];
//!             let Ok(length) = stream.try_read(&mut line) else { continue };
//!             if length == 0 {
//!                 return Err(Error::Observe("the process has left".to_owned()));
//!             }
//!             let at = observer.now();
//!             let said = String::from_utf8_lossy(&line[..length]);
//!             observer.event(Event {
//!                 key: format!("line:{}", at.as_micros()),
//!                 at,
//!                 detail: format!("it said {said}"),
//!                 marks: Vec::new(),
//!                 payload: None,
//!             }).await;
//!         }
//!     }
//! }
//!
//! let mut registry = Registry::builtin();
//! registry.register("LineTrigger", LineTrigger::from_fields);
//! let trigger = LineTrigger { base: Base::default(), address: "127.0.0.1:7070".to_owned() }
//!     .connected_to("6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?)
//!     .with("overlap", "queue_one");
//! let again = registry.build(trigger.to_dict())?;
//! assert_eq!(again.to_dict(), trigger.to_dict());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An observer that can find out what happened while nobody looked keeps *marks* with its events,
//! compares what is there with [`Observer::marks`] when it begins, reports the difference, and
//! then says [`Observer::healthy`]: what comes before that is held against the catch-up policy.
//!
//! # The attributes and methods of Covalent's triggers
//!
//! | there | here |
//! |---|---|
//! | `lattice_dispatch_id`, `dispatcher_addr`, `triggers_server_addr`, `new_dispatch_ids` | the same, in [`Base`] |
//! | `observe_blocks` | [`Base::observe_blocks`]; kept, and without meaning: [`Trigger::observe`] is async and blocks nothing |
//! | `event_loop` | always `null` in a dictionary: the runtime that the service runs on |
//! | `use_internal_funcs` | [`Base::use_internal_funcs`]; kept: whether dispatches are reached in process or over HTTP is the matter of the [`TriggerHost`] |
//! | `stop_flag` | always `null` in a dictionary: [`Observer::stopped`], which also ends a wait |
//! | `observe()` | [`Trigger::observe`], called by the service, again after an error |
//! | `register()` | [`TriggerExt::register`], or [`Triggers::register`] with a dictionary |
//! | `stop()` | [`Registered::stop`], or [`Triggers::stop`] |
//! | `trigger()` | [`Registered::trigger`], or [`Triggers::fire`]; a trigger that is connected to no dispatch cannot be registered: [`Error::NoDispatch`] |
//! | `to_dict()` | [`TriggerExt::to_dict`]; back: [`Registry::build`] |
//! | a subclass | a type that implements [`Trigger`] |
//!
//! # Policies
//!
//! Further fields of the dictionary: `overlap`, `catch_up`, `jitter`, `debounce` and
//! `batch_timeout`, described at [`Policies`]. Without them the behaviour is Covalent's.

#![deny(missing_docs)]

pub mod base;
mod base_trigger;
#[cfg(feature = "test-util")]
pub mod conformance;
#[cfg(feature = "cron")]
pub mod cron;
#[cfg(feature = "_sqlx")]
pub mod db;
#[cfg(feature = "dir")]
pub mod dir;
pub mod error;
mod ext;
pub mod fields;
pub mod host;
mod machine;
#[cfg(any(test, feature = "test-util"))]
pub mod memory;
pub mod metrics;
pub mod observer;
pub mod policies;
mod registry;
mod secrets;
pub mod service;
#[cfg(feature = "time")]
mod time;
pub mod trigger;
#[cfg(feature = "webhook")]
mod webhook;

pub use crate::base::Base;
pub use crate::base_trigger::BaseTrigger;
#[cfg(feature = "cron")]
pub use crate::cron::CronTrigger;
#[cfg(feature = "_sqlx")]
pub use crate::db::DatabaseTrigger;
#[cfg(feature = "sqlite")]
pub use crate::db::SQLiteTrigger;
#[cfg(feature = "dir")]
pub use crate::dir::DirTrigger;
pub use crate::error::Error;
pub use crate::ext::{Registered, TriggerExt};
pub use crate::fields::{Fields, Seconds};
pub use crate::host::TriggerHost;
pub use crate::metrics::Metrics;
pub use crate::observer::{Event, Observer};
pub use crate::policies::Policies;
pub use crate::registry::Registry;
pub use crate::secrets::hide_secrets;
pub use crate::service::{Service, Triggers};
#[cfg(feature = "time")]
pub use crate::time::TimeTrigger;
pub use crate::trigger::{Schedule, Source, Trigger};
#[cfg(feature = "webhook")]
pub use crate::webhook::WebhookTrigger;
