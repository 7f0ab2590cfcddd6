//! The whole face over a real dispatcher: recorded exchanges, refusals, and what keeps a server
//! alive among bad clients.

mod bad_input;
mod client;
mod files;
mod golden;
mod hold;
mod long_name;
mod manifests;
mod native;
mod server;
mod web_pages;
