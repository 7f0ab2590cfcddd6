//! The whole face over a real dispatcher: recorded exchanges, refusals, and what keeps a server
//! alive among bad clients.

mod bad_input;
mod client;
mod connections;
mod files;
mod golden;
mod hold;
mod long_name;
mod manifests;
mod native;
mod server;
mod storage;
mod web_pages;
