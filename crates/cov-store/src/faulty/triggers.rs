//! The part of a failing store that keeps triggers.

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use cov_core::trigger::{Firing, TriggerId, TriggerRecord};

use super::{Faulty, Operation};
use crate::Error;
use crate::triggers::{
    FiringPage, FiringQuery, LiveTrigger, TriggerChange, TriggerPage, TriggerQuery, TriggerStore,
};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<S: TriggerStore> TriggerStore for Faulty<S> {
    async fn change_triggers(&self, changes: &[TriggerChange]) -> Result<(), Error> {
        self.faults.check(Operation::ChangeTriggers)?;
        self.inner.change_triggers(changes).await
    }

    async fn live_triggers(&self) -> Result<Vec<LiveTrigger>, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.live_triggers().await
    }

    async fn trigger(&self, trigger: &TriggerId) -> Result<TriggerRecord, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.trigger(trigger).await
    }

    async fn triggers(&self, query: &TriggerQuery) -> Result<TriggerPage, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.triggers(query).await
    }

    async fn firing(&self, trigger: &TriggerId, event_key: &str) -> Result<Option<Firing>, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.firing(trigger, event_key).await
    }

    async fn firings(&self, query: &FiringQuery) -> Result<FiringPage, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.firings(query).await
    }

    async fn trigger_marks(&self, trigger: &TriggerId) -> Result<Vec<(String, Bytes)>, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.trigger_marks(trigger).await
    }

    async fn made_by(&self, trigger: &TriggerId, limit: u32) -> Result<Vec<DispatchId>, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.made_by(trigger, limit).await
    }

    async fn unsettled(&self) -> Result<Vec<(TriggerId, DispatchId, Status)>, Error> {
        self.faults.check(Operation::Read)?;
        self.inner.unsettled().await
    }
}
