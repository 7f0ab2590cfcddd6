//! What goes wrong, said with what to do about it.

use std::net::TcpListener;

use insta::assert_snapshot;

use crate::place::Place;

#[test]
fn a_start_that_fails_shows_the_servers_own_words() {
    let place = Place::new();
    let start = place.cov("start --listen 0.0.0.0:0 --workers many");
    assert_eq!(start.code, 1);
    assert_snapshot!(start.errors, @"
      × the server did not start (exit status: 2)
      help: it said:
            `workers` is `many` (option --workers)
              hint: it must be a number from 1 to [N]
            0.0.0.0:0 can be reached from other machines, and there is no token to log in with
              hint: make a token with `cov-server --create-token NAME`, or listen on 127.0.0.1; --insecure (COV_INSECURE=true) asks nobody, and lets everybody who reaches the server run programs as its user
            Its log is [HOME]/.local/state/cov/server.log
    ");
    assert_eq!(place.cov("status").code, 3);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let start = place.cov(&format!("start --listen {}", listener.local_addr().unwrap()));
    assert_eq!(start.code, 1);
    assert!(start.errors.contains("another program listens on port"), "{}", start.errors);
}

#[test]
fn a_data_directory_in_use_is_named() {
    let (place, other) = (Place::new(), Place::new());
    place.cov("start");
    let data = place.path(".local/share/cov");
    let start = other.cov(&format!("start --data-dir {}", data.display()));
    assert_eq!(start.code, 1);
    assert!(start.errors.contains("in use by another server"), "{}", start.errors);
    assert_eq!(place.status()["ready"], true);
}

#[test]
fn logs_of_a_server_that_never_was_are_an_error() {
    let place = Place::new();
    let logs = place.cov("logs");
    assert_eq!(logs.code, 1);
    assert_snapshot!(logs.errors, @"
      × there is no log at [HOME]/.local/state/cov/server.log
      help: `cov start` starts a server, which writes one
    ");
}

#[test]
fn a_damaged_state_file_is_named() {
    let place = Place::new();
    std::fs::create_dir_all(place.path(".local/state/cov")).unwrap();
    std::fs::write(place.path(".local/state/cov/server.json"), "{").unwrap();
    let status = place.cov("status");
    assert_eq!(status.code, 1);
    assert!(status.errors.contains("server.json is damaged"), "{}", status.errors);
}

#[test]
fn a_process_that_took_over_the_number_of_a_server_is_left_alone() {
    let place = Place::new();
    std::fs::create_dir_all(place.path(".local/state/cov")).unwrap();
    let record = serde_json::json!({
        "pid": std::process::id(), "started_ticks": 1, "address": "http://127.0.0.1:1",
        "options": [], "folder": "/",
    });
    std::fs::write(place.path(".local/state/cov/server.json"), record.to_string()).unwrap();
    assert_eq!(place.cov("status").code, 3);
    assert_eq!(place.cov("stop").code, 0);
}
