//! What can be done with every trigger: the other half of the seed's `BaseTrigger`.

use cov_core::trigger::Dictionary;
use serde_json::Value;

use crate::Trigger;

/// Conveniences of every [`Trigger`].
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
}

impl<T: Trigger + ?Sized> TriggerExt for T {}
