//! A Python task: the runner that the server has, with a script that has it run the one task.

use std::path::Path;

use cov_client::Node;
use cov_core::graph::{NodeInputs, NodeKind};
use serde_json::json;

use super::folder::{Folder, input_name};
use super::start::Start;
use crate::args::Replay;
use crate::error::Error;
use crate::server_process::python;

/// The runner as the server has it, as far as a task needs it.
const RUNNER: &[(&str, &str)] = &[
    ("__init__.py", include_str!("../../../../../python/cov_runner/__init__.py")),
    ("archive.py", include_str!("../../../../../python/cov_runner/archive.py")),
    ("frames.py", include_str!("../../../../../python/cov_runner/frames.py")),
    ("hooks.py", include_str!("../../../../../python/cov_runner/hooks.py")),
    ("modules.py", include_str!("../../../../../python/cov_runner/modules.py")),
    ("named.py", include_str!("../../../../../python/cov_runner/named.py")),
    ("plain.py", include_str!("../../../../../python/cov_runner/plain.py")),
    ("space.py", include_str!("../../../../../python/cov_runner/space.py")),
    ("task.py", include_str!("../../../../../python/cov_runner/task.py")),
];

const SCRIPT: &str = include_str!("replay.py");

/// Writes the runner and what it has to do, and says how it is started.
pub(super) fn prepare(
    folder: &Folder,
    node: &Node,
    inputs: &NodeInputs,
    address: &str,
    asked: &Replay,
) -> Result<Start, Error> {
    for (name, text) in RUNNER {
        folder.write(&format!("cov_runner/{name}"), text.as_bytes())?;
    }
    folder.write("replay.py", SCRIPT.as_bytes())?;
    let args: Vec<_> =
        inputs.args.iter().map(|source| json!([source, input_name(*source)])).collect();
    let kwargs: Vec<_> = inputs
        .kwargs
        .iter()
        .map(|(name, source)| json!([name, source, input_name(*source)]))
        .collect();
    let task = json!({
        "node": node.node_id,
        "hooks": folder.path().join("hooks").exists(),
        // As the server does it: what only takes a value apart runs without them.
        "run_callables": node.kind != NodeKind::Helper,
        "args": args,
        "kwargs": kwargs,
        "address": address,
        "debug": asked.debug,
    });
    folder.write("task.json", task.to_string().as_bytes())?;
    let python = asked.python.clone().unwrap_or_else(python::usual);
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let script = folder.path().join("replay.py");
    let words = vec![text(&python), text(&script), text(folder.path())];
    Ok(Start { words, ..Start::default() })
}
