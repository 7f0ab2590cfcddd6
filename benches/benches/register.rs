//! Registering 1,000 electrons (2,001 nodes) over a socket, until the server says that it is durable: Covalent's
//! manifest and the native document, each in one request on a connection of its own, without the bytes of the assets.
//! The store is SQLite on a real disk. The limit: reading the request (see the bench `manifest`), inserting the rows,
//! 3 to 5 us each, one `fdatasync`, and for Covalent the answer, which repeats the manifest.

#![expect(clippy::expect_used, reason = "a bench that cannot go on has to end")]

use std::future::pending;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use cov_benches::{manifests, servers};
use cov_dispatcher::Service;
use cov_http::Options;
use cov_store::SqliteStore;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ELECTRONS: u32 = 1_000;

/// A server on a free port.
async fn start(folder: &Path) -> (SocketAddr, Service) {
    let store = SqliteStore::open(folder).await.expect("the folder is empty");
    let (handle, service) = servers::start(store).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let options = Options { listen: Some(address), ..Options::default() };
    let limits = options.limits.clone();
    let router = cov_http::router(handle, None, options);
    tokio::spawn(async move { cov_http::serve(listener, router, &limits, pending()).await });
    (address, service)
}

/// Sends a document and reads the answer to its end.
async fn register(address: SocketAddr, path: &str, document: &str) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        document.len()
    );
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    stream.write_all(document.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it answers");
    let status = answer.get(9..12).unwrap_or_default();
    assert_eq!(status, b"201", "{}", String::from_utf8_lossy(&answer));
}

fn registrations(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("the system has threads");
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let (address, service) = runtime.block_on(start(folder.path()));
    let mut group = criterion.benchmark_group("register");
    group.throughput(Throughput::Elements(u64::from(ELECTRONS)));
    group.sample_size(20);
    for (name, path, document) in [
        ("covalent", "/api/v2/dispatches", manifests::covalent(ELECTRONS)),
        ("native", "/api/v3/dispatches", manifests::native(ELECTRONS)),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(register(address, path, &document)));
        });
    }
    group.finish();
    runtime.block_on(service.stop(Duration::ZERO));
}

criterion_group!(benches, registrations);
criterion_main!(benches);
