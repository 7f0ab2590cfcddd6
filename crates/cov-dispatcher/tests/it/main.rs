//! The dispatcher from outside: a real store, and an executor whose tasks are small scripts.

#[cfg(test)]
mod life;
#[cfg(test)]
mod support;
