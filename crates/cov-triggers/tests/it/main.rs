//! The trigger types on real files and real databases.

#[cfg(test)]
mod db;
#[cfg(test)]
mod dir;
#[cfg(test)]
mod observing;
