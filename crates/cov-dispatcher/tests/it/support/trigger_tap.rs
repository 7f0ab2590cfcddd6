//! The part of the tap that passes triggers on.

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::ids::DispatchId;
use cov_core::status::Status;
use cov_core::trigger::{Firing, TriggerId, TriggerRecord};
use cov_store::triggers::{
    FiringPage, FiringQuery, LiveTrigger, TriggerChange, TriggerPage, TriggerQuery,
};
use cov_store::{Error, TriggerStore};

use super::tap::{Tap, pass};

#[async_trait]
impl TriggerStore for Tap {
    async fn change_triggers(&self, changes: &[TriggerChange]) -> Result<(), Error> {
        pass!(self, triggers.change_triggers(changes))
    }

    async fn live_triggers(&self) -> Result<Vec<LiveTrigger>, Error> {
        pass!(self, triggers.live_triggers())
    }

    async fn trigger(&self, trigger: &TriggerId) -> Result<TriggerRecord, Error> {
        pass!(self, triggers.trigger(trigger))
    }

    async fn triggers(&self, query: &TriggerQuery) -> Result<TriggerPage, Error> {
        pass!(self, triggers.triggers(query))
    }

    async fn firing(&self, trigger: &TriggerId, event_key: &str) -> Result<Option<Firing>, Error> {
        pass!(self, triggers.firing(trigger, event_key))
    }

    async fn firings(&self, query: &FiringQuery) -> Result<FiringPage, Error> {
        pass!(self, triggers.firings(query))
    }

    async fn trigger_marks(&self, trigger: &TriggerId) -> Result<Vec<(String, Bytes)>, Error> {
        pass!(self, triggers.trigger_marks(trigger))
    }

    async fn made_by(&self, trigger: &TriggerId, limit: u32) -> Result<Vec<DispatchId>, Error> {
        pass!(self, triggers.made_by(trigger, limit))
    }

    async fn unsettled(&self) -> Result<Vec<(TriggerId, DispatchId, Status)>, Error> {
        pass!(self, triggers.unsettled())
    }
}
