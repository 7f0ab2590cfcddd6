//! What all triggers have in common: the attributes of the seed's `BaseTrigger`.

use cov_core::ids::DispatchId;
use cov_core::trigger::Dictionary;

/// The attributes that every trigger has.
///
/// Two attributes of the seed are always `null` in the dictionary, because Rust does better: the
/// `event_loop` is the runtime that observes, and the `stop_flag` is
/// [`Observer::stopped`](crate::Observer::stopped).
#[derive(Debug, Clone, PartialEq)]
pub struct Base {
    /// The dispatch that the first firing starts, if it never ran, and later ones run again.
    pub lattice_dispatch_id: Option<DispatchId>,
    /// Where that dispatch lives, if elsewhere than where the trigger is registered.
    pub dispatcher_addr: Option<String>,
    /// Where to register the trigger, if elsewhere than at the dispatcher.
    pub triggers_server_addr: Option<String>,
    /// The dispatches that it has made, as far as its maker knows.
    pub new_dispatch_ids: Vec<DispatchId>,
    /// Whether the seed's `observe` blocks. Kept for dictionaries; nothing blocks here.
    pub observe_blocks: bool,
    /// Whether dispatches are reached in process rather than over HTTP, where both are possible.
    pub use_internal_funcs: bool,
    /// Further attributes, among them the policies. Kept as they came.
    pub extra: Dictionary,
}

impl Default for Base {
    fn default() -> Self {
        Self {
            lattice_dispatch_id: None,
            dispatcher_addr: None,
            triggers_server_addr: None,
            new_dispatch_ids: Vec::new(),
            observe_blocks: true,
            use_internal_funcs: true,
            extra: Dictionary::new(),
        }
    }
}
