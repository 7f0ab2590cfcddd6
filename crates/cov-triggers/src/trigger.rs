//! The trait that every trigger type implements, a user's own too.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use cov_core::time::Timestamp;
use cov_core::trigger::Dictionary;

use crate::{Base, Error, Observer};

/// One trigger: a description of what to watch, and the watching itself.
#[async_trait]
pub trait Trigger: Debug + Send + Sync + 'static {
    /// The class name, by which a registry finds its type.
    fn name(&self) -> &str;

    /// What it has in common with all triggers.
    fn base(&self) -> &Base;

    /// What it has in common with all triggers, to change.
    fn base_mut(&mut self) -> &mut Base;

    /// Adds the fields of its own type to a dictionary.
    fn own_fields(&self, fields: &mut Dictionary);

    /// How it comes to its events.
    fn source(&self) -> Source;

    /// How many events make one firing; at least 1.
    fn events_per_firing(&self) -> u32 {
        1
    }

    /// Looks whether it could observe here and now, once, at registration.
    ///
    /// # Errors
    /// It never could, like a directory that does not exist or a database nobody here can speak
    /// to; it is not registered then.
    async fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Observes until [`Observer::stopped`], and hands every event to `observer`. Called for
    /// [`Source::Observed`] only. After an error it is called again, later and later.
    ///
    /// # Errors
    /// What it watches cannot be watched now.
    async fn observe(&self, observer: &mut Observer) -> Result<(), Error> {
        observer.stopped().await;
        Ok(())
    }

    /// What it would see if it looked now: one line each for people; fires nothing.
    ///
    /// # Errors
    /// What it watches cannot be watched now.
    async fn preview(&self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

/// How a trigger comes to its events.
#[derive(Debug, Clone)]
pub enum Source {
    /// At points of time. All such triggers share one timer.
    Ticks(Arc<dyn Schedule>),
    /// By a task of its own that runs [`Trigger::observe`].
    Observed,
    /// By calls from outside only.
    Called,
}

/// Points of time.
pub trait Schedule: Debug + Send + Sync + 'static {
    /// The first point after `after`; `None` if there is none any more. `created_at` is when the
    /// trigger was registered.
    fn next(&self, created_at: Timestamp, after: Timestamp) -> Option<Timestamp>;
}
