//! A server that plays a script: one act per connection, the last one repeated.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What happens on one connection.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// The request is read, then the connection is closed.
    Cut,
    /// The answer is begun and not ended.
    CutBody,
    /// The request is read and never answered.
    Silence,
    /// The request is answered with this text.
    Answer(String),
}

impl Act {
    /// A whole answer.
    pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Answer(format!(
            "HTTP/1.1 {status} x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        ))
    }

    /// An answer in JSON.
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::answer(status, "content-type: application/json\r\n", body)
    }
}

/// A server that plays a script.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    requests: mpsc::Receiver<String>,
}

impl Stage {
    pub(crate) async fn open(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, requests) = mpsc::channel(256);
        tokio::spawn(async move {
            let last = script.last().cloned().expect("a script has an act");
            let mut acts = script.into_iter().chain(std::iter::repeat(last));
            // Silent connections stay open as long as the stage.
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(request) = read_head(&mut stream).await else {
                    continue;
                };
                seen.try_send(request).expect("fewer than 256 requests");
                match acts.next().expect("the script is endless") {
                    Act::Cut => {}
                    Act::CutBody => {
                        let begin =
                            b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"dispatches\":";
                        stream.write_all(begin).await.ok();
                    }
                    Act::Silence => silent.push(stream),
                    Act::Answer(text) => stream.write_all(text.as_bytes()).await.unwrap_or(()),
                }
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The request lines that came so far.
    pub(crate) fn requests(&mut self) -> Vec<String> {
        let heads = std::iter::from_fn(|| self.requests.try_recv().ok());
        heads.map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}
