//! A server of the real program, in a folder of its own, and what the tests ask of it. It does not
//! outlive the test.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cov::core::asset::{AssetAddress, AssetKey, ContentDigest, ContentRef};
use cov::core::ids::{DispatchId, NodeId};
use cov::core::platform;
use cov::core::status::Status;
use cov::program::ProgramName;
use cov::{Client, Lattice};
use cov_client::{Dispatch, Node, Workflow};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::program::example;

/// Longer than anything here may take, on a busy machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program whose electrons the server runs.
pub(crate) const PROGRAM: &str = "served";

pub(crate) struct Server {
    pub(crate) folder: TempDir,
    child: Child,
    pub(crate) address: String,
    pub(crate) client: Client,
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let (child, address) = serve(folder.path());
        let client = client(&address);
        Self { folder, child, address, client }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn text_path(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// `kill -9`, and a new one on the same data.
    pub(crate) fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.address) = serve(self.folder.path());
        self.client = client(&self.address);
    }

    pub(crate) async fn dispatch<T>(&self, lattice: Lattice<T>) -> DispatchId {
        self.client.dispatch(&workflow(lattice)).await.unwrap().dispatch_id
    }

    /// Waits for the end of a dispatch and returns all that is known of it.
    pub(crate) async fn ended(&self, id: &DispatchId) -> Dispatch {
        let waiting = self.client.summary(id, true);
        tokio::time::timeout(PATIENCE, waiting).await.expect("it does not end").unwrap();
        self.client.get(id).await.unwrap()
    }

    /// Waits until the node of this name is shown as completed.
    pub(crate) async fn completed(&self, id: &DispatchId, name: &str) {
        let looking = async {
            while node(&self.client.get(id).await.unwrap(), name).status != Status::Completed {}
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("it does not complete");
    }

    pub(crate) async fn result<T: DeserializeOwned>(&self, id: &DispatchId) -> T {
        let ended = self.ended(id).await;
        assert_eq!(ended.summary.status, Status::Completed, "{:?}", ended.error);
        cov::Dispatched::new(self.client.clone(), id.clone()).result().await.unwrap()
    }

    pub(crate) async fn run<T: DeserializeOwned>(&self, lattice: Lattice<T>) -> T {
        let id = self.dispatch(lattice).await;
        self.result(&id).await
    }

    pub(crate) async fn asset(&self, id: &DispatchId, node: NodeId, key: AssetKey) -> String {
        let address = AssetAddress::of_node(node, key);
        let read = self.client.read_asset(id, address, ..).await.unwrap();
        String::from_utf8(read.collect(1 << 20).await.unwrap().to_vec()).unwrap()
    }

    /// Waits until a file has so many lines, and returns them.
    pub(crate) async fn lines(&self, name: &str, count: usize) -> Vec<String> {
        let reading = async {
            loop {
                let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
                if text.lines().count() >= count {
                    return text.lines().map(str::to_owned).collect();
                }
                // Each look asks the server, so that this waits for what it does.
                self.client.health().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the lines do not come")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn serve(folder: &Path) -> (Child, String) {
    let mut child = Command::new(binary())
        .args(["--listen", "127.0.0.1:0", "--python", "/no/python", "--workers", "2"])
        .arg("--data-dir")
        .arg(folder.join("data"))
        .env("HOME", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = child.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("cov-server ready at ").expect("it is ready");
    (child, address.to_owned())
}

fn client(address: &str) -> Client {
    Client::builder(address).build().unwrap()
}

/// The server's program: the one that is named, or the one beside the tests, made if need be.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("COV_SERVER_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("cov-server");
    if !path.is_file() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "cov-server"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.unwrap().success() && path.is_file(), "cargo build -p cov-server");
    }
    path
}

/// What a client of the program sends for this lattice.
pub(crate) fn workflow<T>(lattice: Lattice<T>) -> Workflow {
    let path = example(PROGRAM);
    let content = content_of(&path);
    let name = ProgramName { digest: content.id.to_string(), platform: platform::current() };
    let address = AssetAddress::of_dispatch(AssetKey::Program);
    Workflow::new(lattice.into_bundle(&name)).file(address, path, &content)
}

fn content_of(path: &Path) -> ContentRef {
    let mut digest = ContentDigest::default();
    digest.update(&std::fs::read(path).unwrap());
    digest.finish()
}

/// The node of this name.
pub(crate) fn node<'a>(dispatch: &'a Dispatch, name: &str) -> &'a Node {
    dispatch.nodes.iter().find(|node| node.name == name).unwrap()
}
