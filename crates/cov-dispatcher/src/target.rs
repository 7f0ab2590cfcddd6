//! Which executor a manifest's name means here, and where its tasks run.

use std::path::{Path, PathBuf};

use cov_core::executor::ExecutorSpec;
use cov_exec::WorkDir;

/// Names that mean the local pool. `dask` does when no scheduler address comes with it: it is
/// what an untouched SDK sends.
const LOCAL_NAMES: [&str; 2] = ["local", "dask"];

/// The names by which electrons can ask for an executor of this server.
#[must_use]
pub fn names() -> &'static [&'static str] {
    &LOCAL_NAMES
}

/// The end of the working directory that the SDK fills in when its user sets none.
const DEFAULT_WORK_DIR: &str = "covalent/workdir";

/// Where the tasks of one executor go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To the local pool.
    Local {
        /// Their working directory, if the user chose one.
        work_dir: Option<WorkDir>,
    },
    /// Nowhere; this says why and what to do.
    Unknown(String),
}

impl Target {
    /// What `spec` means here.
    #[must_use]
    pub fn of(spec: &ExecutorSpec) -> Self {
        if !LOCAL_NAMES.contains(&spec.name.as_str()) {
            return Self::Unknown(format!(
                "No executor found by name: {}. This server has: {}.",
                spec.name,
                LOCAL_NAMES.join(", ")
            ));
        }
        let address = spec.attribute("scheduler_address").and_then(serde_json::Value::as_str);
        match address.filter(|address| !address.is_empty()) {
            Some(address) => Self::Unknown(format!(
                "The Dask scheduler at {address} cannot be used: this server runs `dask` tasks \
                 on its local pool. Leave the scheduler address empty to use it."
            )),
            None => Self::Local { work_dir: work_dir(spec) },
        }
    }
}

/// The working directory that the user chose. The SDK's own default means: leave it alone.
fn work_dir(spec: &ExecutorSpec) -> Option<WorkDir> {
    let unique = spec
        .attribute("create_unique_workdir")
        .and_then(serde_json::Value::as_bool)
        .unwrap_or(false);
    let text = spec.attribute("workdir")?.as_str()?;
    let chosen = !text.is_empty() && !Path::new(text).ends_with(DEFAULT_WORK_DIR);
    (unique || chosen).then(|| WorkDir { path: expand_home(text), unique })
}

fn expand_home(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target(name: &str, attributes: serde_json::Value) -> Target {
        Target::of(&ExecutorSpec { name: name.into(), data: json!({ "attributes": attributes }) })
    }

    #[test]
    fn dask_without_an_address_is_the_local_pool() {
        assert_eq!(target("dask", json!({})), Target::Local { work_dir: None });
        let empty = json!({ "scheduler_address": "" });
        assert_eq!(target("dask", empty), Target::Local { work_dir: None });
        let given = json!({ "scheduler_address": "tcp://10.0.0.1:8786" });
        assert!(matches!(target("dask", given), Target::Unknown(why) if why.contains("10.0.0.1")));
    }

    #[test]
    fn unknown_names_say_which_are_known() {
        let Target::Unknown(why) = target("slurm", json!({})) else { panic!("slurm is unknown") };
        assert!(why.contains("No executor found by name: slurm") && why.contains("local"));
    }

    #[test]
    fn the_default_working_directory_is_left_alone() {
        let default = "/home/ada/.cache/covalent/workdir";
        let of = |path: &str, unique: bool| {
            target("local", json!({ "workdir": path, "create_unique_workdir": unique }))
        };
        assert_eq!(of(default, false), Target::Local { work_dir: None });
        let expected = WorkDir { path: default.into(), unique: true };
        assert_eq!(of(default, true), Target::Local { work_dir: Some(expected) });
        let expected = WorkDir { path: "/data".into(), unique: false };
        assert_eq!(of("/data", false), Target::Local { work_dir: Some(expected) });
    }
}
