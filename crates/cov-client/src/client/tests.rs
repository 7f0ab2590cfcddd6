//! Addresses, and what the way of sending decides by itself. Real connections: `tests/it`.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

#[test]
fn addresses_that_cannot_be_called_are_refused_with_the_reason() {
    let cases = [
        ("", "empty"),
        ("127.0.0.1:48008", "http://"),
        ("ftp://127.0.0.1:48008", "only http"),
        ("http://", ""),
        ("http://host/?a=b", "query"),
        ("http://ho st/", ""),
    ];
    for (address, reason) in cases {
        let error = Client::builder(address).build().unwrap_err();
        assert_eq!(error.tries(), 0);
        let text = error.to_string();
        assert!(text.contains(reason), "{address:?}: {text}");
        assert!(text.contains("http://127.0.0.1:48008"), "{text}");
    }
}

#[test]
fn a_slash_at_the_end_of_an_address_makes_no_difference() {
    for address in ["http://localhost:1", "http://localhost:1/"] {
        let client = Client::builder(address).build().unwrap();
        assert_eq!(client.address(), "http://localhost:1");
    }
}

#[test]
fn only_a_wait_in_seconds_is_understood() {
    let wait =
        |text| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]));
    assert_eq!(wait("3"), Some(Duration::from_secs(3)));
    assert_eq!(wait("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    assert_eq!(wait("-1"), None);
}

/// Answers every request with 503 and counts them.
async fn overloaded() -> (String, tokio::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (seen, requests) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            if stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                seen.try_send(()).unwrap();
            }
            let answer = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    });
    (address, requests)
}

#[tokio::test]
async fn a_request_that_is_not_idempotent_is_sent_once() {
    let (address, requests) = overloaded().await;
    let retry = RetryPolicy { backoff_first: Duration::from_millis(1), ..RetryPolicy::default() };
    let client = Client::builder(address).retry(retry).build().unwrap();

    let answer = client.call(&Call::post("/api/v3/dispatches")).await;
    assert_eq!(answer.unwrap().status, 503);
    assert_eq!(requests.len(), 1);

    client.call(&Call::new(Method::PUT, "/api/v3/dispatches")).await.ok();
    assert_eq!(requests.len(), 1 + 4);
}
