//! The real programs: `cov` from the outside, and the `cov-server` that it starts.

#[cfg(test)]
mod backup;
#[cfg(test)]
mod dispatches;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod options;
#[cfg(test)]
mod place;
#[cfg(test)]
mod purge;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod terminal;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod triggers;
#[cfg(test)]
mod workflows;
