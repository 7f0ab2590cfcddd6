//! The whole face over a real dispatcher: recorded exchanges, refusals, and what keeps a server
//! alive among bad clients.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod client;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod edited_manifest;
#[cfg(test)]
mod files;
#[cfg(test)]
mod following;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hold;
#[cfg(test)]
mod intake;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod long_name;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod native;
#[cfg(test)]
mod purge;
#[cfg(test)]
mod server;
#[cfg(test)]
mod storage;
#[cfg(test)]
mod web_pages;
