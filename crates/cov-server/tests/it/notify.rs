//! What the service manager is told.

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::program::{Program, SOON};

fn next(manager: &UnixDatagram) -> String {
    let mut told = [0; 1024];
    let length = manager.recv(&mut told).expect("the manager is told soon");
    String::from_utf8(told[..length].to_vec()).unwrap()
}

#[test]
fn the_service_manager_hears_of_the_start_of_life_and_of_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let data = folder.path().join("data");
    let options = ["--listen", "127.0.0.1:0", "--python", "/no/python", "--data-dir"];
    let options = [&options[..], &[data.to_str().unwrap()]].concat();
    let variables = [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "600000")];
    let server = Program::start_with(&options, &variables);

    let ready = next(&manager);
    assert!(ready.starts_with("READY=1\nSTATUS=Serving at http://127.0.0.1:"), "{ready}");
    assert_eq!(next(&manager), "WATCHDOG=1");
    assert_eq!(next(&manager), "WATCHDOG=1");
    server.send(Signal::TERM);
    while let told = next(&manager)
        && !told.starts_with("STOPPING=1")
    {
        assert_eq!(told, "WATCHDOG=1");
    }
    assert_eq!(server.end().code, Some(0));
}

#[test]
fn a_manager_that_is_gone_does_not_keep_a_server_from_serving() {
    let data = tempfile::tempdir().unwrap();
    let options = [
        "--listen",
        "127.0.0.1:0",
        "--python",
        "/no/python",
        "--data-dir",
        data.path().to_str().unwrap(),
    ];
    let server = Program::start_with(&options, &[("NOTIFY_SOCKET", "/no/such/socket")]);
    server.wait_for_log("the service manager cannot be told");
    server.send(Signal::TERM);
    assert_eq!(server.end().code, Some(0));
}
