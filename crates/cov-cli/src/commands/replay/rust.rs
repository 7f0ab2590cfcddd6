//! A Rust electron: the program that it is part of is fetched, and runs the one task.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cov_client::{Client, Node};
use cov_core::asset::{AssetAddress, AssetKey, ContentDigest};
use cov_core::frames::{Argument, Blob, Message as _, Task, ToRunner};
use cov_core::ids::{ContentId, DispatchId, NodeId};
use cov_core::platform;
use tokio::process::Command;

use super::start::Start;
use crate::context::Context;
use crate::error::Error;

/// Exit code of a runner that found no socket: it knows no other way to run a task.
pub(super) const EXIT_NO_SOCKET: i32 = 75;

/// The debuggers that are looked for, the better first.
const DEBUGGERS: [&str; 2] = ["rust-gdb", "gdb"];

/// Where the runner leaves what the task returned: the name for attempt 0.
pub(super) const OUTPUT: &str = "attempt-0000000000000000.output";

/// Fetches the program of a node into the folder, and checks that it is the one that ran.
pub(super) async fn fetch(
    context: &Context,
    client: &Client,
    id: &DispatchId,
    node: &Node,
    folder: &Path,
) -> Result<PathBuf, Error> {
    let told = |error| context.told(error);
    let workflow = client.workflow(id).await.map_err(told)?;
    let manifest = workflow.manifest();
    let executor = manifest.nodes.get(node.node_id.index()).map(|node| node.executor as usize);
    let executor = executor.and_then(|index| manifest.executors.get(index));
    let named = |name| executor.and_then(|spec| spec.attribute(name)?.as_str());
    let own = platform::current();
    if let Some(theirs) = named("platform").filter(|theirs| !platform::fits(theirs, &own)) {
        return Err(Error::Impossible {
            said: format!("the program is built for {theirs}, and this is {own}"),
            hint: "run `cov replay` on such a machine, with --server".to_owned(),
        });
    }
    let digest: Option<ContentId> = named("program").and_then(|digest| digest.parse().ok());
    let path = folder.join("program");
    let address = AssetAddress::of_dispatch(AssetKey::Program);
    let mut read = client.read_asset(id, address, ..).await.map_err(told)?;
    let failed = |source| Error::File { what: "the program", path: path.clone(), source };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o700);
    let mut file = options.open(&path).map_err(failed)?;
    let mut found = ContentDigest::default();
    while let Some(bytes) = read.next().await.map_err(told)? {
        found.update(&bytes);
        file.write_all(&bytes).map_err(failed)?;
    }
    if digest != Some(found.finish().id) {
        fs::remove_file(&path).map_err(failed)?;
        return Err(Error::Impossible {
            said: "the program on the server is not the one that the node names".to_owned(),
            hint: "`cov db check` says whether stored contents are damaged".to_owned(),
        });
    }
    Ok(path)
}

/// Writes the task, and says how the program is started for it.
pub(super) fn prepare(
    program: &Path,
    folder: &Path,
    of: (&DispatchId, &Node),
    inputs: Vec<(NodeId, PathBuf)>,
    address: &str,
) -> Result<Start, Error> {
    let stored = |path: &Path| Blob::File(path.as_os_str().as_bytes().to_vec());
    let (dispatch, node) = of;
    let task = Task {
        attempt: 0,
        dispatch: dispatch.to_string(),
        node: node.node_id.0,
        function: stored(&folder.join("function")),
        hooks: None,
        run_callables: true,
        args: inputs
            .iter()
            .map(|(node, path)| Argument { node: node.0, value: stored(path) })
            .collect(),
        kwargs: Vec::new(),
        work_dir: None,
    };
    let path = folder.join("task");
    let frame = ToRunner::Run(vec![task]).to_frame();
    let written = frame.map_err(std::io::Error::other).and_then(|frame| fs::write(&path, frame));
    written.map_err(|source| Error::File { what: "the file", path: path.clone(), source })?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    Ok(Start {
        words: vec![text(program)],
        variables: vec![
            ("COV_RUNNER".to_owned(), "1".to_owned()),
            ("COV_RUNNER_TASK".to_owned(), text(&path)),
            ("COV_RUNNER_SPOOL".to_owned(), text(folder)),
            ("COVALENT_DISPATCHER_URL".to_owned(), address.to_owned()),
        ],
        folder: None,
        stdin: None,
    })
}

/// Has a debugger start it, which stops at the electron and where it panics.
pub(super) async fn debug(start: &mut Start, electron: &str) -> Result<(), Error> {
    let debugger = debugger().await.ok_or_else(|| Error::Impossible {
        said: "there is no gdb on PATH".to_owned(),
        hint: "install gdb, or use --keep DIR: `run.sh` there shows what another debugger has to \
               start"
            .to_owned(),
    })?;
    let mut words = vec![debugger.to_owned(), "-q".to_owned()];
    let place = place(start, electron).await;
    let stops = place.into_iter().chain(["rust_panic".to_owned()]);
    let commands = ["set breakpoint pending on".to_owned(), "set confirm off".to_owned()]
        .into_iter()
        .chain(stops.map(|place| format!("break {place}")))
        .chain(["run".to_owned()]);
    words.extend(commands.flat_map(|command| ["-ex".to_owned(), command]));
    words.push("--args".to_owned());
    words.append(&mut start.words);
    start.words = words;
    Ok(())
}

/// The first of the debuggers that works: rust-gdb is a script, which needs gdb and a toolchain.
async fn debugger() -> Option<&'static str> {
    for name in DEBUGGERS {
        let mut asked = Command::new(name);
        asked.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if asked.status().await.is_ok_and(|status| status.success()) {
            return Some(name);
        }
    }
    None
}

/// Where the electron stands in the sources, if the program says.
async fn place(start: &Start, electron: &str) -> Option<String> {
    let output = Command::new(start.words.first()?)
        .envs(start.variables.iter().map(|(name, value)| (name, value)))
        .env("COV_RUNNER_PLACE", electron)
        .stdin(Stdio::null())
        .output()
        .await
        .ok()?;
    let place = String::from_utf8(output.stdout).ok()?;
    Some(place.trim().to_owned()).filter(|place| output.status.success() && place.contains(':'))
}
