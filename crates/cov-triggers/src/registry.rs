//! Which trigger types there are: makes a trigger out of its dictionary. Starts none.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cov_core::trigger::Dictionary;

use crate::fields::Fields;
use crate::policies::Policies;
use crate::{Error, Trigger};

type Factory = Arc<dyn Fn(&mut Fields) -> Result<Box<dyn Trigger>, Error> + Send + Sync>;

/// The trigger types by class name.
///
/// ```
/// use cov_triggers::{BaseTrigger, Registry, Trigger};
/// let dictionary = serde_json::json!({"name": "BaseTrigger", "lattice_dispatch_id": "d-1"});
/// let trigger = Registry::builtin().build(dictionary.as_object().unwrap().clone())?;
/// assert_eq!(trigger.name(), BaseTrigger::NAME);
/// # Ok::<(), cov_triggers::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    factories: BTreeMap<String, Factory>,
}

impl Registry {
    /// No types at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The types of this crate that its features allow.
    #[must_use]
    pub fn builtin() -> Self {
        let mut registry = Self::empty();
        registry.register(crate::BaseTrigger::NAME, crate::BaseTrigger::from_fields);
        #[cfg(feature = "cron")]
        registry.register(crate::CronTrigger::NAME, crate::CronTrigger::from_fields);
        #[cfg(feature = "webhook")]
        registry.register(crate::WebhookTrigger::NAME, crate::WebhookTrigger::from_fields);
        #[cfg(feature = "time")]
        registry.register(crate::TimeTrigger::NAME, crate::TimeTrigger::from_fields);
        #[cfg(feature = "sqlite")]
        registry.register(crate::SQLiteTrigger::NAME, crate::SQLiteTrigger::from_fields);
        #[cfg(feature = "_sqlx")]
        registry.register(crate::DatabaseTrigger::NAME, crate::DatabaseTrigger::from_fields);
        #[cfg(feature = "dir")]
        registry.register(crate::DirTrigger::NAME, crate::DirTrigger::from_fields);
        registry
    }

    /// Adds a type, or replaces the one of that name. `factory` takes the type's own fields out
    /// of what it is given; those that all triggers have are read by the registry.
    pub fn register<T: Trigger>(
        &mut self,
        name: &str,
        factory: impl Fn(&mut Fields) -> Result<T, Error> + Send + Sync + 'static,
    ) {
        let boxed = move |fields: &mut Fields| -> Result<Box<dyn Trigger>, Error> {
            Ok(Box::new(factory(fields)?))
        };
        self.factories.insert(name.to_owned(), Arc::new(boxed));
    }

    /// The class names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.factories.keys().cloned().collect()
    }

    /// Makes the trigger that a dictionary describes. Fields that nobody knows are kept in
    /// [`Base::extra`](crate::Base::extra).
    ///
    /// # Errors
    /// No type has this name, or a field is missing, has the wrong type or an impossible value.
    pub fn build(&self, dictionary: Dictionary) -> Result<Box<dyn Trigger>, Error> {
        let mut fields = Fields::new(dictionary)?;
        let Some(factory) = self.factories.get(fields.name()) else {
            return Err(Error::UnknownType { name: fields.name().to_owned(), known: self.names() });
        };
        let mut trigger = factory(&mut fields)?;
        fields.read_base(trigger.base_mut())?;
        let extra = fields.rest();
        Policies::read(trigger.name(), &extra)?;
        trigger.base_mut().extra = extra;
        Ok(trigger)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.names()).finish()
    }
}

#[cfg(test)]
mod tests;
