//! `DirTrigger` on real directories.

mod burst;
mod counts;
mod limits;
mod missed;
mod polled;
mod registration;
