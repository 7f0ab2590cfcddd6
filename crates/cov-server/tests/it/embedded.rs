//! The server inside another program.

use std::sync::Arc;

use cov_core::manifest::Manifest;
use cov_core::time::{Clock, Timestamp};
use cov_server::{Builder, Config, Kind};

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        "2030-01-01T12:00:00".parse().unwrap()
    }
}

fn config(data: &tempfile::TempDir) -> Config {
    Config { python: Some("/no/python".into()), ..Config::embedded(data.path()) }
}

#[tokio::test]
async fn the_servers_time_is_that_of_the_clock_it_was_given() {
    let data = tempfile::tempdir().unwrap();
    let server = Builder::new(config(&data)).clock(Arc::new(Noon)).start().await.unwrap();
    let handle = server.handle();
    let manifest = Manifest {
        dispatch_id: Some("noon".parse().unwrap()),
        lattice: Default::default(),
        executors: Vec::new(),
        nodes: Vec::new(),
        edges: Vec::new(),
        assets: Vec::new(),
    };
    let registered = handle.register(manifest).await.unwrap();
    let record = handle.record(&registered.dispatch).await.unwrap();
    assert_eq!(record.summary.created_at, Noon.now());
    drop(handle);
    server.stop().await;
}

#[tokio::test]
async fn two_servers_of_one_program_do_not_share_a_data_directory() {
    let data = tempfile::tempdir().unwrap();
    let server = Builder::new(config(&data)).start().await.unwrap();
    let error = Builder::new(config(&data)).start().await.unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (Kind::Data, 4));
    let taken = Config { listen: server.address().clone(), ..config(&data) };
    let error = Builder::new(taken).start().await.unwrap_err();
    assert_eq!((error.kind(), error.exit_code()), (Kind::Listen, 3));
    server.stop().await;
}

#[tokio::test]
async fn a_configuration_is_checked_before_anything_starts() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("never");
    let faulty = Config { workers: 0, ..Config::embedded(&folder) };
    let error = Builder::new(faulty).start().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_server_on_a_unix_socket_is_reached_by_its_address_and_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let socket = data.path().join("run").join("server.sock");
    let listen = format!("unix:{}", socket.display()).parse().unwrap();
    let server = Builder::new(Config { listen, ..config(&data) }).start().await.unwrap();
    assert_eq!(server.url(), format!("unix:{}", socket.display()));
    let client = cov_client::Client::builder(server.url()).build().unwrap();
    assert!(client.ready().await.unwrap());
    let nobody = "nobody".parse().unwrap();
    let said = client.get_result(&nobody, false, true).await.unwrap_err().to_string();
    assert!(said.contains("server.sock"), "{said}");
    server.stop().await;
    assert!(!socket.exists());
    assert_eq!(client.ready().await.unwrap_err().kind(), cov_client::Kind::Unreachable);
}
