//! The dispatcher from outside: a real store, and an executor whose tasks are small scripts.

#[cfg(test)]
mod cancel;
#[cfg(test)]
mod fairness;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod life;
#[cfg(test)]
mod load;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod outside;
#[cfg(test)]
mod pools;
#[cfg(test)]
mod purge;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod registration;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod sublattice;
#[cfg(test)]
mod support;
#[cfg(test)]
mod triggers;
