//! Virtual environments under `target/`, made once and used again while nothing they depend on changes.
//!
//! Never touches the interpreter's own packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::{repo, run, say};

/// What the demo installs: exactly what a user would.
const DEMO_REQUIREMENTS: &str = "examples/requirements.txt";

/// What the SDK suite needs.
const SDK_REQUIREMENTS: &str = "tests/sdk/requirements.txt";

/// What the suite of the executor plugins needs: the plugins, and the engine that comes from the package index.
const PLUGINS_REQUIREMENTS: &str = "tests/plugins/requirements.txt";

/// What tries the native API.
const API_REQUIREMENTS: &str = "tests/api/requirements.txt";

/// The interpreter of the demo's environment.
///
/// # Errors
///
/// When there is no Python, it cannot make environments, or pip fails; each error says what to do.
pub(crate) fn demo() -> anyhow::Result<PathBuf> {
    environment("demo-venv", &repo::root().join(DEMO_REQUIREMENTS))
}

/// The interpreter of the SDK suite's environment.
///
/// # Errors
///
/// As [`demo`].
pub(crate) fn sdk() -> anyhow::Result<PathBuf> {
    environment("sdk-venv", &repo::root().join(SDK_REQUIREMENTS))
}

/// The interpreter of the environment of the executor plugins. The SDK suite has another one, for every plugin that is
/// installed slows down `import covalent`.
///
/// # Errors
///
/// As [`demo`].
pub(crate) fn plugins() -> anyhow::Result<PathBuf> {
    environment(PLUGINS, &repo::root().join(PLUGINS_REQUIREMENTS))
}

/// Where [`plugins`] makes its environment.
pub(crate) fn plugins_folder() -> PathBuf {
    repo::target().join(PLUGINS)
}

const PLUGINS: &str = "plugins-venv";

/// The interpreter of the API tester's environment.
///
/// # Errors
///
/// As [`demo`].
pub(crate) fn api() -> anyhow::Result<PathBuf> {
    environment("api-venv", &repo::root().join(API_REQUIREMENTS))
}

/// Makes the SDK suite's environment and prints its interpreter.
///
/// # Errors
///
/// As [`demo`].
pub(crate) fn print_sdk_interpreter() -> anyhow::Result<()> {
    let python = sdk()?;
    say::line(&python.display().to_string());
    Ok(())
}

/// The interpreter of the environment `target/<name>`, made if it is not there, with what the file `requirements` asks
/// for.
///
/// # Errors
///
/// As [`demo`].
pub(crate) fn environment(name: &str, requirements: &Path) -> anyhow::Result<PathBuf> {
    let wanted = std::fs::read_to_string(requirements)
        .with_context(|| requirements.display().to_string())?;
    let base = base_interpreter()?;
    let version = version(&base)?;
    let folder = repo::target().join(name);
    let python = folder.join("bin").join("python");
    let stamp = folder.join("made-for.txt");
    let made_for = format!("{version}{wanted}");
    let is_current = std::fs::read_to_string(&stamp).is_ok_and(|text| text == made_for);
    if is_current && run::text(Command::new(&python).arg("--version")).is_ok() {
        return Ok(python);
    }
    make(&base, &folder)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(requirements);
    run::logged(&format!("{name} pip"), &mut pip)
        .context("pip could not install the packages: is the index reachable?")?;
    std::fs::write(&stamp, made_for)?;
    Ok(python)
}

fn make(base: &str, folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    run::text(Command::new(base).args(["-m", "venv"]).arg(folder)).with_context(|| {
        format!("`{base} -m venv` failed; on Debian and Ubuntu: apt-get install python3-venv python3-pip")
    })?;
    Ok(())
}

/// `COV_PYTHON`, else `python3` on the path.
fn base_interpreter() -> anyhow::Result<String> {
    let base = std::env::var("COV_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    run::text(Command::new(&base).arg("--version")).with_context(|| {
        format!("no Python: `{base}` does not answer; on Debian and Ubuntu: apt-get install python3 python3-venv")
    })?;
    Ok(base)
}

/// The version line, for instance `3.11.7`; refuses versions that the SDK cannot be installed on.
fn version(base: &str) -> anyhow::Result<String> {
    let code = "import sys; print('.'.join(map(str, sys.version_info[:3])))";
    let version = run::text(Command::new(base).args(["-c", code]))?;
    let minor = version.trim().split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    let is_known =
        version.starts_with("3.") && minor.is_some_and(|minor| (8..=12).contains(&minor));
    anyhow::ensure!(
        is_known,
        "Covalent 0.240.0 runs on Python 3.8 to 3.12, and `{base}` is {}: name another one in COV_PYTHON",
        version.trim()
    );
    Ok(version)
}
