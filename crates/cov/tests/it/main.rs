//! The crate as its users have it: programs that are runners, and what does not compile.

#[cfg(test)]
mod compile_errors;
#[cfg(test)]
mod program;
#[cfg(test)]
mod runner;
#[cfg(all(test, feature = "client"))]
mod served;
