//! Executors that are found when somebody asks for them: each is scripted, has slots of its own, and
//! stands for an engine outside.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cov_exec::{Error, Executor, Finder, Found, Report};
use tokio::sync::mpsc;

use super::executor::{Face, Gates, Outside, Scripted};

/// Has an executor for every name.
#[derive(Debug)]
pub(crate) struct Far {
    slots: usize,
    gates: Gates,
    outside: Outside,
    reports: mpsc::Sender<Report>,
    made: Mutex<Vec<(String, Arc<Scripted>)>>,
}

impl Far {
    pub(crate) fn new(
        slots: usize,
        gates: Gates,
        outside: Outside,
        reports: mpsc::Sender<Report>,
    ) -> Arc<Self> {
        Arc::new(Self { slots, gates, outside, reports, made: Mutex::default() })
    }

    /// The executor of a name.
    pub(crate) fn scripted(&self, name: &str) -> Arc<Scripted> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = made.iter().find(|(known, _)| known == name) {
            return Arc::clone(known);
        }
        let (gates, outside) = (self.gates.clone(), self.outside.clone());
        let new = Scripted::new(self.slots, gates, outside, self.reports.clone());
        made.push((name.to_owned(), Arc::clone(&new)));
        new
    }

    /// All that were asked for.
    pub(crate) fn made(&self) -> Vec<Arc<Scripted>> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.iter().map(|(_, executor)| Arc::clone(executor)).collect()
    }
}

#[async_trait]
impl Finder for Far {
    fn executor(&self, name: &str) -> Arc<dyn Executor> {
        Arc::new(Face(self.scripted(name)))
    }

    async fn found(&self) -> Result<Vec<Found>, Error> {
        Ok(Vec::new())
    }

    async fn stop(&self) {
        for executor in self.made() {
            Face(executor).stop().await;
        }
    }
}
