//! The trigger types on real files and real databases.

mod db;
mod dir;
mod observing;
