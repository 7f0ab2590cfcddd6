//! The peers of `benches/compare/peers`: what they are, how their environments are made, how their programs start.
//!
//! Starts nothing that is to be measured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::cells::Cell;
use crate::{python, repo, run, system};

/// Workers of every peer.
pub(super) const WORKERS: u32 = 2;

/// The folders of the peers, relative to the root, in the order of the tables.
const FOLDERS: &[&str] = &[
    "cov",
    "restate",
    "dbos",
    "temporal",
    "prefect",
    "covalent",
    "hyperqueue",
    "dask",
    "ray",
    "parsl",
];

/// One peer, as its folder's `peers.json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    #[serde(skip)]
    pub(super) name: String,
    /// The folder with its files.
    #[serde(skip)]
    here: PathBuf,
    /// The folder with our own programs.
    #[serde(skip)]
    programs: PathBuf,
    pub(super) title: String,
    command: Vec<String>,
    /// Begins with `yes` or `no`.
    pub(super) durable: String,
    /// What its tasks are written in.
    pub(super) tasks: String,
    /// What its seconds are from and to.
    pub(super) timed: String,
    #[serde(default)]
    limits: BTreeMap<String, u64>,
    #[serde(default)]
    pub(super) seconds_max: BTreeMap<String, u64>,
    #[serde(default)]
    pub(super) once: Vec<String>,
    #[serde(default)]
    n: BTreeMap<String, u64>,
    /// Programs that must be there, and the packages of Debian that bring them.
    #[serde(default)]
    system: BTreeMap<String, String>,
}

impl Peer {
    /// The cells of this peer: of these, without what is over its limits, with its own sizes.
    pub(super) fn cells(&self, all: &[Cell]) -> Vec<Cell> {
        let mut cells = Vec::new();
        for cell in all {
            let n = self.n.get(&cell.shape).map_or(cell.n, |own| cell.n.min(*own));
            if self.limits.get(&cell.shape).is_none_or(|limit| n <= *limit) {
                cells.push(Cell { n, shape: cell.shape.clone() });
            }
        }
        cells
    }

    /// Makes its environment and returns the command that starts its program in `data`. Sets everything that the program
    /// finds in its environment but `COMPARE_DATA`.
    ///
    /// # Errors
    ///
    /// When a registry cannot be reached, or has something else than before.
    pub(super) fn command(&self, data: &Path) -> anyhow::Result<Command> {
        let folder = self.environment()?;
        let placed = |word: &str| -> anyhow::Result<String> {
            let mut word = word.to_owned();
            let places = [
                ("{python}", folder.join("bin").join("python")),
                ("{env}", folder.clone()),
                ("{here}", self.here.clone()),
                ("{release}", self.programs.clone()),
                ("{root}", repo::root()),
            ];
            for (mark, place) in places {
                word = word.replace(mark, &place.display().to_string());
            }
            if word.contains("{sdk}") {
                word = word.replace("{sdk}", &python::sdk()?.display().to_string());
            }
            Ok(word)
        };
        let words =
            self.command.iter().map(|word| placed(word)).collect::<anyhow::Result<Vec<_>>>()?;
        let (program, arguments) = words.split_first().context("`command` is empty")?;
        let path = std::env::var("PATH").unwrap_or_default();
        let own = [folder.join("bin"), folder.join("node_modules").join(".bin")];
        let path = format!("{}:{}:{path}", own[0].display(), own[1].display());
        let mut command = Command::new(program);
        command.args(arguments).current_dir(data).env_clear();
        command.env("PATH", path).env("HOME", data).env("LANG", "C.UTF-8");
        command.env("PYTHONPATH", repo::root().join(COMPARE)).env("PYTHONUNBUFFERED", "1");
        command.env("COMPARE_WORKERS", WORKERS.to_string());
        command.env("COMPARE_RELEASE", &self.programs);
        Ok(command)
    }

    /// Makes the environment of its folder, if that is needed.
    ///
    /// # Errors
    ///
    /// As [`Peer::command`].
    pub(super) fn environment(&self) -> anyhow::Result<PathBuf> {
        for (program, package) in &self.system {
            let further: Vec<String> = postgres_folders();
            let further: Vec<&str> = further.iter().map(String::as_str).collect();
            if system::on_path(program, &further).is_none() {
                system::install_servers(&[package.as_str()])?;
            }
        }
        let shared = self.here.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = format!("compare/env/{}", shared.unwrap_or_default());
        let folder = repo::target().join(&name);
        let requirements = self.here.join("requirements.txt");
        if requirements.exists() {
            python::environment(&name, &requirements)?;
        }
        if self.here.join("package.json").exists() {
            node_modules(&self.here.join("package.json"), &folder)?;
        }
        Ok(folder)
    }

    /// Whether what it runs is ours.
    pub(super) fn is_ours(&self) -> bool {
        self.name.starts_with("cov-")
    }

    /// Whether a result is on disk before its client can see it.
    pub(super) fn is_durable(&self) -> bool {
        self.durable.starts_with("yes")
    }
}

/// Where all of the comparison's own files are, relative to the root.
const COMPARE: &str = "benches/compare";

/// Debian keeps PostgreSQL's server off the path, each version in a folder of its own.
fn postgres_folders() -> Vec<String> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin").display().to_string()).collect()
}

fn node_modules(package: &Path, folder: &Path) -> anyhow::Result<()> {
    let wanted = std::fs::read_to_string(package)?;
    let copy = folder.join("package.json");
    let is_current = std::fs::read_to_string(&copy).is_ok_and(|text| text == wanted)
        && folder.join("node_modules").exists();
    if is_current {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    std::fs::write(&copy, &wanted)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--prefix"]).arg(folder).current_dir(folder);
    let made = run::logged("compare npm", &mut npm);
    if made.is_err() {
        // What is half there must not be taken for current the next time.
        std::fs::remove_file(&copy).ok();
    }
    made.map(|_log| ()).context("npm could not install the packages: is the registry reachable?")
}

/// All peers that there are, in the order of the tables; our own programs are in the folder `programs`.
///
/// # Errors
///
/// When a `peers.json` cannot be read, or has members that mean nothing.
pub(super) fn all(programs: &Path) -> anyhow::Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for folder in FOLDERS {
        let here = repo::root().join(COMPARE).join("peers").join(folder);
        let file = here.join("peers.json");
        if !file.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&file)?;
        let read = parse(&text, &here).with_context(|| file.display().to_string())?;
        peers.extend(read.into_iter().map(|peer| Peer { programs: programs.to_owned(), ..peer }));
    }
    Ok(peers)
}

fn parse(text: &str, here: &Path) -> anyhow::Result<Vec<Peer>> {
    let read: BTreeMap<String, Peer> = serde_json::from_str(text)?;
    let named = |(name, peer): (String, Peer)| {
        let is_said = peer.is_durable() || peer.durable.starts_with("no");
        anyhow::ensure!(is_said, "{name}: `durable` says neither yes nor no");
        Ok(Peer { name, here: here.to_owned(), ..peer })
    };
    read.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::cells::Cell;
    use super::{all, parse};

    const ONE: &str = r#"{"one": {"title": "One", "command": ["{python}"], "durable": "no: it is not",
        "tasks": "Python", "timed": "all", "limits": {"fan": 1000}, "n": {"single": 5}}}"#;

    #[test]
    fn a_peer_has_sizes_of_its_own() {
        let peers = parse(ONE, Path::new("/there")).unwrap();
        let cells = [Cell::new("single", 20), Cell::new("fan", 1000), Cell::new("fan", 10_000)];
        assert_eq!(peers[0].cells(&cells), [Cell::new("single", 5), Cell::new("fan", 1000)]);
        assert!(!peers[0].is_durable() && !peers[0].is_ours());
    }

    #[test]
    fn a_member_that_means_nothing_is_refused() {
        let wrong = ONE.replace("\"limits\"", "\"limit\"");
        assert!(parse(&wrong, Path::new("/there")).is_err());
        let silent = ONE.replace("no: it is not", "perhaps");
        assert!(parse(&silent, Path::new("/there")).is_err());
    }

    #[test]
    fn every_peer_of_the_checkout_is_read() {
        let peers = all(Path::new("/there")).unwrap();
        assert!(peers.iter().any(|peer| peer.name == "parsl-threads"));
    }
}
