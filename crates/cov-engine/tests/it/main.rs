//! The engine from outside: every event in every phase, the failure rules of a dispatch, the
//! scheduler's promises, and seeded simulations of whole servers that crash.

#[cfg(test)]
mod golden;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod props;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod states;
#[cfg(test)]
mod table;
