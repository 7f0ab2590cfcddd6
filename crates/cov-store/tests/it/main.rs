//! Tests of the store through its public face.

#[cfg(test)]
mod access;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod traced;
#[cfg(test)]
mod upgrade_killed;
#[cfg(test)]
mod upgrades;
