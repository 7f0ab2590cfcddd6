//! The Python of this user: found as the server finds its own. Runs it only to ask for versions.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

/// Prints what there is to know, also with a very old Python.
const ASK: &str = "
import json, sys
def version(name):
    try:
        from importlib.metadata import version as read
        return read(name)
    except Exception:
        try:
            return __import__(name).__version__
        except Exception:
            return None
print(json.dumps({'executable': sys.executable, 'version': list(sys.version_info[:3]),
  'cloudpickle': version('cloudpickle'), 'covalent': version('covalent')}))
";

/// What a Python says of itself.
#[derive(Debug, Deserialize)]
pub(crate) struct Said {
    pub(crate) executable: PathBuf,
    pub(crate) version: [u32; 3],
    pub(crate) cloudpickle: Option<String>,
    pub(crate) covalent: Option<String>,
}

/// The active virtual environment, else python3 on PATH.
pub(crate) fn usual() -> PathBuf {
    let active = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from);
    let inside = active.map(|folder| folder.join("bin/python")).filter(|python| python.is_file());
    inside.unwrap_or_else(|| PathBuf::from("python3"))
}

/// Asks a Python for its versions; why it cannot be asked, in words.
pub(crate) async fn ask(python: &Path) -> Result<Said, String> {
    let output = Command::new(python)
        .arg("-c")
        .arg(ASK)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said.lines().last().unwrap_or("it says nothing").to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}
