//! The client against real connections, good ones and bad ones.

#[cfg(test)]
mod connections;
#[cfg(test)]
mod flows;
#[cfg(test)]
mod imports;
#[cfg(test)]
mod native;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod triggers;
