//! The trigger types on real files and real databases.

mod dir;
mod observing;
