//! Clients that are slow, many, or still there when the server stops.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use cov_http::{Limits, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::Ask;
use crate::manifests::{manifest, task};
use crate::server::TestServer;

/// Long enough for everything that does happen.
const PATIENCE: Duration = Duration::from_secs(20);

async fn with(limits: Limits) -> TestServer {
    TestServer::with(Options { limits, ..Options::default() }).await
}

async fn connect(server: &TestServer, first_words: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(first_words.as_bytes()).await.unwrap();
    stream
}

/// What comes until the server ends the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = async { while stream.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {} };
    timeout(PATIENCE, read).await.expect("the server ends the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn headers_that_do_not_come_end_the_connection() {
    let limits = Limits { header_wait: Duration::from_millis(50), ..Limits::default() };
    let server = with(limits).await;
    for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow:"] {
        let mut stream = connect(&server, begun).await;
        let answer = rest(&mut stream).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_refused() {
    let limits = Limits { body_wait: Duration::from_millis(50), ..Limits::default() };
    let server = with(limits).await;
    let dispatch = server.register(&manifest(vec![task(0, "a", b"f")], vec![])).await;
    for target in [
        "POST /api/v2/dispatches".to_owned(),
        format!("PUT /api/v0/files/{dispatch}/node_0/function.tobj"),
        format!("PUT /api/v2/dispatches/{dispatch}/status"),
    ] {
        let head = format!("{target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n");
        let mut stream = connect(&server, &head).await;
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
    }
    assert_eq!(server.stored().await, 1);
    server.stop().await;
}

/// The length of a chunk may begin with zeros, as many as one likes: nothing of the body arrives.
#[tokio::test]
async fn who_sends_without_end_and_without_a_body_is_cut_off() {
    let limits = Limits { body_wait: Duration::from_millis(50), ..Limits::default() };
    let server = with(limits).await;
    let address = server.address;
    let answered = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let head = b"POST /api/v2/dispatches HTTP/1.1\r\nHost: localhost\r\n\
            Transfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).unwrap();
        let mut flood = stream.try_clone().unwrap();
        let flooding =
            std::thread::spawn(move || while flood.write_all(&[b'0'; 1 << 20]).is_ok() {});
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut begin = [0; 13];
        let answered = stream.read_exact(&mut begin);
        stream.shutdown(std::net::Shutdown::Both).ok();
        flooding.join().unwrap();
        answered.map(|()| String::from_utf8_lossy(&begin).into_owned())
    });
    assert_eq!(answered.await.unwrap().expect("an answer"), "HTTP/1.1 400 ");
    server.stop().await;
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_a_place() {
    let server = with(Limits { connections: 1, ..Limits::default() }).await;
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let first = connect(&server, "GET /healthz").await;
    // Connections are accepted in their order, so the first has the only place.
    let mut second = connect(&server, request).await;
    let mut byte = [0];
    let early = timeout(Duration::from_millis(100), second.read(&mut byte)).await;
    assert!(early.is_err(), "the second is served beside the first");
    drop(first);
    let answer = rest(&mut second).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn stopping_waits_for_requests_under_way_and_not_for_ever() {
    let limits = Limits { stop_wait: Duration::from_millis(200), ..Limits::default() };
    let server = with(limits).await;
    let dispatch = server.register(&manifest(vec![task(0, "a", b"f")], vec![])).await;
    let idle = connect(&server, "").await;
    let head = format!(
        "PUT /api/v0/files/{dispatch}/node_0/function.tobj HTTP/1.1\r\nHost: localhost\r\n\
         Content-Length: 9\r\n\r\nhalf"
    );
    let stalled = connect(&server, &head).await;
    // Answered after the stalled one was accepted.
    assert_eq!(server.get("/healthz").await.status, 200);
    let address = server.address;
    timeout(PATIENCE, server.stop()).await.expect("the server stops");
    assert!(TcpStream::connect(address).await.is_err());
    drop((idle, stalled));
}

#[tokio::test]
async fn one_connection_may_carry_many_requests() {
    let server = TestServer::start().await;
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2);
    let last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut stream = connect(&server, &(request + last)).await;
    assert_eq!(rest(&mut stream).await.matches("HTTP/1.1 200 OK").count(), 3);
    server.stop().await;
}

#[tokio::test]
async fn a_refused_client_that_is_still_sending_reads_its_answer() {
    let limits = Limits { manifest_bytes: 1_000, ..Limits::default() };
    let server = with(limits).await;
    let large = vec![b' '; 48 << 20];
    let register = Ask::new("POST", "/api/v2/dispatches").body(large.clone());
    assert_eq!(server.ask(register).await.status, 413);
    let upload = Ask::new("PUT", "/api/v0/files/nobody/hooks.json").body(large.clone());
    assert_eq!(server.ask(upload).await.status, 404);
    let foreign = Ask::new("POST", "/api/v2/dispatches").header("origin", "http://evil.example");
    assert_eq!(server.ask(foreign.body(large)).await.status, 403);
    server.stop().await;
}

#[tokio::test]
async fn a_request_beyond_the_limit_of_its_kind_waits_for_its_turn_and_is_refused_then() {
    let turn_wait = Duration::from_millis(50);
    let limits = Limits { uploads: 1, registrations: 1, turn_wait, ..Limits::default() };
    let server = with(limits).await;
    let dispatch = server.register(&manifest(vec![task(0, "a", b"f")], vec![])).await;
    let path = format!("/api/v0/files/{dispatch}/node_0/function.tobj");
    for target in [format!("PUT {path}"), "POST /api/v2/dispatches".to_owned()] {
        // Answered as soon as it is read: by then the one before it has its turn.
        let head = format!("{target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n");
        let mut first = connect(&server, &head).await;
        let (method, path) = target.split_once(' ').unwrap();
        let refused = loop {
            let answer = server.ask(Ask::new(method, path).body("f")).await;
            if answer.status == 503 {
                break answer;
            }
        };
        assert!(refused.headers.contains(&("retry-after".into(), "1".into())), "{refused:?}");
        assert_eq!(server.get("/api/v3/dispatches").await.status, 200, "others have their turn");
        first.write_all(b"f").await.unwrap();
        let mut answer = [0; 12];
        timeout(PATIENCE, first.read_exact(&mut answer)).await.unwrap().unwrap();
        assert!(!answer.ends_with(b"503"), "who had its turn is served");
        assert_ne!(server.ask(Ask::new(method, path).body("f")).await.status, 503);
    }
    server.stop().await;
}
