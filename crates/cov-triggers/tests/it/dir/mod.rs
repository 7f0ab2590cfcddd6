//! `DirTrigger` on real directories.

mod burst;
mod conformance;
mod counts;
mod limits;
mod missed;
mod polled;
mod registration;
