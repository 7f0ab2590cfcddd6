//! The crate as its users have it: programs that are runners, and what does not compile.

#[cfg(test)]
mod compile_errors;
#[cfg(test)]
mod program;
#[cfg(test)]
mod runner;
#[cfg(test)]
#[cfg(feature = "client")]
mod served;
