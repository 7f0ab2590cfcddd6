//! What a start shows, and what keeps a server from starting.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::program::{Program, get};

#[test]
fn a_server_says_one_line_serves_and_stops_when_asked() {
    let data = tempfile::tempdir().unwrap();
    let (server, address) = Program::serve(&data.path().join("new/folder"), &[]);

    assert_ne!(address.port(), 0);
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 "));
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
    assert!(get(address, "/api/v3/dispatches").ends_with(r#"{"dispatches":[],"total":0}"#));

    server.send(Signal::TERM);
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert_eq!(ended.out, Vec::<String>::new());
    assert!(!ended.errors.contains("panicked"), "{}", ended.errors);
}

#[test]
fn a_second_server_on_the_same_data_directory_is_refused_and_the_first_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let (first, address) = Program::serve(data.path(), &[]);

    let path = data.path().to_str().unwrap();
    let second = Program::start(&["--listen", "127.0.0.1:0", "--data-dir", path]).end();

    assert_eq!(second.code, Some(4), "{}", second.errors);
    for expected in ["cov-server: the data directory", path, "another server", "--data-dir"] {
        assert!(second.errors.contains(expected), "{expected}: {}", second.errors);
    }
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
    first.send(Signal::KILL);
    first.end();
    let (third, _) = Program::serve(data.path(), &[]);
    third.send(Signal::INT);
    assert_eq!(third.end().code, Some(0));
}

#[test]
fn a_port_that_is_taken_is_refused_and_nothing_is_written() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("data");

    let ended =
        Program::start(&["--listen", &address, "--data-dir", folder.to_str().unwrap()]).end();

    assert_eq!(ended.code, Some(3), "{}", ended.errors);
    for expected in [address.as_str(), "another program listens", "--listen 127.0.0.1:PORT"] {
        assert!(ended.errors.contains(expected), "{expected}: {}", ended.errors);
    }
    assert!(!folder.exists());
}

#[test]
fn a_data_directory_that_cannot_be_made_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("data");
    let options = ["--listen", "127.0.0.1:0", "--data-dir", below.to_str().unwrap()];
    let ended = Program::start(&options).end();
    assert_eq!(ended.code, Some(4), "{}", ended.errors);
    assert!(ended.errors.contains("hint: make sure that this user may write"), "{}", ended.errors);
}

#[test]
fn a_configuration_with_faults_is_refused_with_all_of_them() {
    let ended = Program::start(&["--listen", "0.0.0.0:0", "--workers", "0"]).end();
    assert_eq!(ended.code, Some(2), "{}", ended.errors);
    for expected in ["--insecure", "`workers` is `0`", "COV_DATA_DIR"] {
        assert!(ended.errors.contains(expected), "{expected}: {}", ended.errors);
    }
    assert_eq!(Program::start(&["--port", "1"]).end().code, Some(2));
}

#[test]
fn an_address_that_others_can_reach_is_served_on_demand() {
    let data = tempfile::tempdir().unwrap();
    // The line that says it is ready names an address that works from here.
    let (server, address) = Program::serve(data.path(), &["--listen", "0.0.0.0:0", "--insecure"]);
    assert!(address.ip().is_loopback());
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
    server.send(Signal::TERM);
    assert_eq!(server.end().code, Some(0));
}

#[test]
fn the_configuration_is_printed_without_a_start() {
    let options = ["--print-config", "--data-dir", "/nowhere", "--workers", "3"];
    let ended = Program::start(&options).end();
    assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""));
    assert!(ended.out.contains(&"workers = 3  # option --workers".to_owned()), "{:?}", ended.out);
}

#[test]
fn logs_can_be_json() {
    let data = tempfile::tempdir().unwrap();
    let (server, _) = Program::serve(data.path(), &["--log-format", "json"]);
    server.send(Signal::TERM);
    let ended = server.end();
    for line in ended.errors.lines() {
        let parsed: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(parsed.get("message").is_some_and(serde_json::Value::is_string), "{line}");
    }
    assert!(ended.errors.contains("server stopped"));
}

/// Going back to an older release is refused before anything is written.
#[test]
fn data_of_a_newer_release_is_refused_and_left_alone() {
    let data = tempfile::tempdir().unwrap();
    let (server, _) = Program::serve(data.path(), &[]);
    server.send(Signal::TERM);
    assert_eq!(server.end().code, Some(0));
    let database = data.path().join("dispatches.sqlite");
    let statement = "INSERT INTO _sqlx_migrations VALUES (9999, 'of the future', 0, 1, x'00', 1)";
    let python = std::process::Command::new("python3")
        .args(["-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1], isolation_level=None).execute(sys.argv[2])"])
        .args([database.as_os_str(), statement.as_ref()])
        .status()
        .unwrap();
    assert!(python.success());
    let before = std::fs::read(&database).unwrap();

    let path = data.path().to_str().unwrap();
    let refused = Program::start(&["--listen", "127.0.0.1:0", "--data-dir", path]).end();

    assert_eq!(refused.code, Some(4), "{}", refused.errors);
    for expected in ["newer release", "schema 9999", "hint: nothing was changed; start the release"]
    {
        assert!(refused.errors.contains(expected), "{expected}: {}", refused.errors);
    }
    assert_eq!(refused.out, Vec::<String>::new());
    assert!(std::fs::read(&database).unwrap() == before, "the database was written to");
}

/// A line in the log leads to its request, and to the trace that the request came from.
#[test]
fn log_lines_of_a_request_carry_its_id_and_its_trace() {
    let data = tempfile::tempdir().unwrap();
    let options = ["--log-format", "json", "--log-level", "cov_http=debug"];
    let (server, address) = Program::serve(data.path(), &options);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let head = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\r\n");
    let answer = crate::program::get_with(address, "/healthz", &head);
    let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    server.send(Signal::TERM);
    let ended = server.end();
    let lines = ended.errors.lines().map(|line| serde_json::from_str(line).expect(line));
    let answered: Vec<serde_json::Value> =
        lines.filter(|line: &serde_json::Value| line["message"] == "request answered").collect();
    assert_eq!(answered.len(), 1, "{}", ended.errors);
    let span = &answered[0]["span"];
    assert_eq!((&span["request.id"], &span["trace.id"]), (&id.into(), &trace.into()), "{span}");
    assert_eq!(answered[0]["http.status"], 200);
}
