//! The trigger that watches nothing: the seed's `BaseTrigger` used as it is. It fires when it is
//! told to.

use cov_core::trigger::Dictionary;

use crate::fields::Fields;
use crate::{Base, Error, Source, Trigger};

/// A trigger that fires only by hand, or by a program that calls it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BaseTrigger {
    base: Base,
}

impl BaseTrigger {
    /// Its class name.
    pub const NAME: &'static str = "BaseTrigger";

    /// A trigger that is connected to no dispatch yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads its own fields, of which there are none.
    ///
    /// # Errors
    /// None.
    pub fn from_fields(_fields: &mut Fields) -> Result<Self, Error> {
        Ok(Self::new())
    }
}

impl Trigger for BaseTrigger {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn base(&self) -> &Base {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base {
        &mut self.base
    }

    fn own_fields(&self, _fields: &mut Dictionary) {}

    fn source(&self) -> Source {
        Source::Called
    }
}
