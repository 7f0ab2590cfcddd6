//! Stands for a kept trigger that cannot be made any more, because its type or a feature is gone.

use async_trait::async_trait;
use cov_core::trigger::{Dictionary, TriggerRecord};

use crate::{Base, Error, Observer, Source, Trigger};

#[derive(Debug)]
pub(super) struct BrokenTrigger {
    name: String,
    base: Base,
    settings: Dictionary,
    error: String,
}

impl BrokenTrigger {
    pub(super) fn new(record: &TriggerRecord, error: &str) -> Self {
        Self {
            name: record.name.clone(),
            base: Base::default(),
            settings: record.settings.clone(),
            error: error.to_owned(),
        }
    }
}

#[async_trait]
impl Trigger for BrokenTrigger {
    fn name(&self) -> &str {
        &self.name
    }

    fn base(&self) -> &Base {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base {
        &mut self.base
    }

    fn own_fields(&self, fields: &mut Dictionary) {
        fields.extend(self.settings.clone());
    }

    fn source(&self) -> Source {
        Source::Observed
    }

    async fn observe(&self, _observer: &mut Observer) -> Result<(), Error> {
        Err(Error::Observe(self.error.clone()))
    }

    async fn preview(&self) -> Result<Vec<String>, Error> {
        Err(Error::Observe(self.error.clone()))
    }
}
