//! How the values that edges bring are put together to arguments and results: one value as it
//! is, or many in a list, a tuple or a map. A shape says nothing of the types of its values.

use serde::{Deserialize, Serialize};

/// The way from the values that reach a node, in order, to one argument. Travels as JSON, in the
/// function asset of the node.
///
/// ```
/// use cov::graph::Shape;
/// let shape = Shape::Tuple(vec![Shape::Value, Shape::list(vec![Shape::Value; 3])]);
/// assert_eq!(shape.values(), 4);
/// assert_eq!(serde_json::to_string(&shape)?, r#"{"tuple":["value",{"values":3}]}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The next value, as it is.
    Value,
    /// The next so many values, in a list.
    Values(u32),
    /// No value: `()` in Rust, `null` in JSON.
    Unit,
    /// No value: an absent option.
    Absent,
    /// A present option.
    Present(Box<Shape>),
    /// A list.
    List(Vec<Shape>),
    /// A tuple, or an array of fixed length.
    Tuple(Vec<Shape>),
    /// A map: keys and their values, in turn.
    Map(Vec<(Shape, Shape)>),
}

impl Shape {
    /// A list of these, in its shortest form.
    #[must_use]
    pub fn list(items: Vec<Self>) -> Self {
        match u32::try_from(items.len()) {
            Ok(count) if items.iter().all(|item| *item == Self::Value) => Self::Values(count),
            Ok(_) | Err(_) => Self::List(items),
        }
    }

    /// How many values it takes.
    #[must_use]
    pub fn values(&self) -> usize {
        match self {
            Self::Value => 1,
            Self::Values(count) => *count as usize,
            Self::Unit | Self::Absent => 0,
            Self::Present(inner) => inner.values(),
            Self::List(items) | Self::Tuple(items) => items.iter().map(Self::values).sum(),
            Self::Map(entries) => {
                entries.iter().map(|(key, value)| key.values() + value.values()).sum()
            }
        }
    }
}
