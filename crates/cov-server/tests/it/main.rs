//! The server as a program, and inside another program.

#[cfg(test)]
mod backup;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod notify;
#[cfg(test)]
mod program;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod start;
