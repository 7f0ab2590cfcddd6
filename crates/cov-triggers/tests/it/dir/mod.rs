//! `DirTrigger` on real directories.

mod burst;
mod counts;
mod missed;
mod polled;
mod registration;
