//! A server that nobody asks for anything.

use std::time::Duration;

use tempfile::TempDir;

use crate::server::Server;

const SETTLE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_secs(30);

pub(crate) fn measure() {
    let folder = TempDir::new().unwrap();
    let first = Server::start(folder.path());
    println!("first answer, of an empty folder: {:?}", first.answered_after);
    drop(first);
    for _ in 0..5 {
        println!("first answer: {:?}", Server::start(folder.path()).answered_after);
    }
    let server = Server::start(folder.path());
    std::thread::sleep(SETTLE);
    let (cpu, written, switches) = (server.cpu(), server.written(), server.switches());
    std::thread::sleep(LOOK);
    println!(
        "{LOOK:?}: RSS {} MiB, CPU {:?}, {} bytes written, {} wake-ups",
        server.resident(),
        server.cpu().saturating_sub(cpu),
        server.written() - written,
        server.switches() - switches
    );
}
