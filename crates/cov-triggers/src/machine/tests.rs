//! The machine as tables: what goes in, and the rows that come out.

mod counting;
mod deciding;
mod desk;
