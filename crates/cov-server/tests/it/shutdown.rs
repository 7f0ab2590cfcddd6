//! What a stopping server still does, and when it stops waiting.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::program::{Program, answer, begin_request};

#[test]
fn a_request_under_way_is_answered_and_no_other_is_accepted() {
    let data = tempfile::tempdir().unwrap();
    let (server, address) = Program::serve(data.path(), &["--grace", "30"]);
    let mut request = begin_request(address);

    server.send(Signal::TERM);
    server.wait_for_log("server stops");
    loop {
        match TcpStream::connect(address) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => break,
            // The listener is about to be closed.
            Ok(_) | Err(_) => std::thread::yield_now(),
        }
    }
    request.write_all(b"}").unwrap();

    let answer = answer(request);
    let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(status >= 400, "an empty manifest is refused: {answer}");
    assert_eq!(server.end().code, Some(0));
}

#[test]
fn the_grace_period_bounds_the_wait() {
    let data = tempfile::tempdir().unwrap();
    let (server, address) = Program::serve(data.path(), &["--grace", "0.1"]);
    let request = begin_request(address);
    server.send(Signal::TERM);
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    drop(request);
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let data = tempfile::tempdir().unwrap();
        let (server, address) = Program::serve(data.path(), &["--grace", "3600"]);
        let request = begin_request(address);
        server.send(Signal::TERM);
        server.wait_for_log("server stops");
        server.send(signal);
        assert_eq!(server.end().code, Some(code));
        drop(request);
    }
}

#[tokio::test]
async fn stopping_leaves_the_data_directory_to_the_next_server() {
    let data = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let config = cov_server::Config {
            grace: Duration::from_millis(100),
            python: Some("/no/python".into()),
            ..cov_server::Config::embedded(data.path())
        };
        let server = cov_server::Builder::new(config).start().await.unwrap();
        server.stop().await;
    }
}
