//! What every store does.
pub mod fixtures;
