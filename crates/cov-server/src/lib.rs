//! The server: reads its configuration, wires the parts together, starts them in order and stops
//! them in reverse. Decides nothing about dispatches and knows no route.

pub mod args;
pub mod clock;
pub mod config;
pub mod error;
pub mod signal;
pub mod telemetry;
