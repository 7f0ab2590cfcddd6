//! The trigger types on real files and real databases.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod db;
#[cfg(test)]
mod dir;
#[cfg(test)]
mod observing;
#[cfg(test)]
mod own_type;
#[cfg(test)]
mod service;
