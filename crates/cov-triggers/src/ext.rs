//! What can be done with every trigger: the other half of the seed's `BaseTrigger`.

use async_trait::async_trait;
use cov_core::ids::DispatchId;
use cov_core::trigger::{Dictionary, Firing, TriggerId};
use serde_json::Value;

use crate::{Error, Trigger, Triggers};

/// Conveniences of every [`Trigger`].
#[async_trait]
pub trait TriggerExt: Trigger {
    /// The trigger as name-value pairs, as the SDK's `to_dict` writes it: read back by
    /// [`Registry::build`](crate::Registry::build).
    fn to_dict(&self) -> Dictionary {
        let base = self.base();
        let mut fields = base.extra.clone();
        let mut set = |field: &str, value: Value| {
            fields.insert(field.to_owned(), value);
        };
        let made: Vec<&str> = base.new_dispatch_ids.iter().map(|id| id.as_str()).collect();
        let original = base.lattice_dispatch_id.as_ref();
        set("lattice_dispatch_id", original.map(|id| id.as_str()).into());
        set("dispatcher_addr", base.dispatcher_addr.as_deref().into());
        set("triggers_server_addr", base.triggers_server_addr.as_deref().into());
        set("new_dispatch_ids", made.into());
        set("observe_blocks", base.observe_blocks.into());
        set("event_loop", Value::Null);
        set("use_internal_funcs", base.use_internal_funcs.into());
        set("stop_flag", Value::Null);
        set("name", self.name().into());
        self.own_fields(&mut fields);
        fields
    }

    /// The same trigger, connected to a dispatch.
    #[must_use]
    fn connected_to(mut self, dispatch: DispatchId) -> Self
    where
        Self: Sized,
    {
        self.base_mut().lattice_dispatch_id = Some(dispatch);
        self
    }

    /// The same trigger with a further field, like the policy `overlap`. What is wrong with it
    /// shows when the trigger is registered.
    #[must_use]
    fn with(mut self, field: &str, value: impl Into<Value>) -> Self
    where
        Self: Sized,
    {
        self.base_mut().extra.insert(field.to_owned(), value.into());
        self
    }

    /// Registers the trigger with a service, which then observes.
    ///
    /// # Errors
    /// As [`Triggers::register`]; above all, when it is connected to no dispatch.
    async fn register(self, triggers: &Triggers) -> Result<Registered<Self>, Error>
    where
        Self: Sized,
    {
        let record = triggers.register(self.to_dict()).await?;
        Ok(Registered { trigger: self, id: record.id, triggers: triggers.clone() })
    }
}

impl<T: Trigger + ?Sized> TriggerExt for T {}

/// A trigger that a service observes for its maker. Dropping it stops nothing.
#[derive(Debug, Clone)]
pub struct Registered<T> {
    trigger: T,
    id: TriggerId,
    triggers: Triggers,
}

impl<T: Trigger> Registered<T> {
    /// The id under which it is registered.
    #[must_use]
    pub fn id(&self) -> &TriggerId {
        &self.id
    }

    /// The trigger. Its `new_dispatch_ids` holds what [`Registered::trigger`] made; what the
    /// service made by itself is in the history.
    #[must_use]
    pub fn get(&self) -> &T {
        &self.trigger
    }

    /// Fires it now.
    ///
    /// # Errors
    /// It was stopped, or the service cannot take it now.
    pub async fn trigger(&mut self) -> Result<Firing, Error> {
        let firing = self.triggers.fire(&self.id, None, None).await?;
        let base = self.trigger.base_mut();
        // As in the seed, the original is no new dispatch.
        let made =
            firing.dispatch.clone().filter(|id| base.lattice_dispatch_id.as_ref() != Some(id));
        base.new_dispatch_ids.extend(made);
        Ok(firing)
    }

    /// Stops it for good. When this returns, it fires no more.
    ///
    /// # Errors
    /// The service cannot take it now.
    pub async fn stop(&self) -> Result<(), Error> {
        self.triggers.stop(&self.id).await
    }
}
