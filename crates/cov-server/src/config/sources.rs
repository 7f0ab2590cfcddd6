//! Where settings come from: defaults, then the configuration file, then the environment, then
//! the command line; the last word counts. Every value keeps the name of its source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::Fault;
use super::settings::{SETTINGS, Setting, Shape};

/// What the settings are read from. Holds copies, so that a test needs no process of its own.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The configuration file, if the command line names one.
    pub file: Option<PathBuf>,
    /// Values of the command line, by key.
    pub flags: Vec<(&'static str, Vec<String>)>,
    /// The environment. Variables without a value count as not set.
    pub environment: BTreeMap<String, String>,
}

impl Sources {
    /// A variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Lays the sources over each other.
    pub(super) fn merge(&self, faults: &mut Vec<Fault>) -> Figment {
        let mut figment = self.defaults();
        let file = self.file.clone().or_else(|| self.variable("COV_CONFIG").map(PathBuf::from));
        if let Some(path) = file {
            figment = merge_file(figment, &path, faults);
        }
        for setting in SETTINGS {
            if let Some(text) = self.variable(&setting.variable()) {
                let source = format!("environment variable {}", setting.variable());
                figment = figment.merge(One::new(setting, Value::from(text), source));
            }
        }
        for (key, values) in &self.flags {
            let Some(setting) = super::settings::find(key) else { continue };
            let value = match setting.shape {
                Shape::List(_) => Value::from(values.clone()),
                Shape::Switch => Value::from(true),
                Shape::Value(_) => Value::from(values.last().cloned().unwrap_or_default()),
            };
            figment =
                figment.merge(One::new(setting, value, format!("option --{}", setting.flag())));
        }
        figment
    }

    fn defaults(&self) -> Figment {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        SETTINGS.iter().fold(Figment::new(), |figment, setting| {
            let value = match setting.key {
                "data_dir" => match self.default_data_dir() {
                    Some(path) => Value::from(path.to_string_lossy().into_owned()),
                    None => return figment,
                },
                "python" | "dispatcher" | "tls_cert" | "tls_key" | "dask" | "executor_dir"
                | "public_url" => {
                    return figment;
                }
                "workers" => Value::from(cores.min(super::WORKERS_MAX)),
                "allowed_hosts" | "executor_slots" => Value::from(Vec::<String>::new()),
                _ => Value::from(setting.default),
            };
            figment.merge(One::new(setting, value, "default".to_owned()))
        })
    }

    /// The user's data folder, as the XDG base directory specification has it: relative paths
    /// in its variable are to be ignored.
    fn default_data_dir(&self) -> Option<PathBuf> {
        let absolute =
            |name| self.variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let data = absolute("XDG_DATA_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))?;
        Some(data.join("cov"))
    }
}

fn merge_file(figment: Figment, path: &Path, faults: &mut Vec<Fault>) -> Figment {
    let name = format!("configuration file {}", path.display());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            faults.push(Fault::new(
                format!("the {name} cannot be read: {error}"),
                "name an existing file with --config or COV_CONFIG, or none",
            ));
            return figment;
        }
    };
    let dict = match Toml::string(&text).data() {
        Ok(mut profiles) => profiles.remove(&Profile::Default).unwrap_or_default(),
        Err(error) => {
            faults.push(Fault::new(
                format!("the {name} is no TOML: {}", error.to_string().trim()),
                "see docs/config.md for an example",
            ));
            return figment;
        }
    };
    for key in keys(&dict, "") {
        if super::settings::find(&key).is_none() {
            faults.push(Fault::new(
                format!("the {name} has the unknown key `{key}`"),
                format!("the keys are: {}", SETTINGS.map_keys()),
            ));
        }
    }
    figment.merge(File { name, dict })
}

/// The full keys of all values in a table.
fn keys(dict: &Dict, prefix: &str) -> Vec<String> {
    let nested = dict.iter().flat_map(|(name, value)| match value {
        Value::Dict(_, table) if !table.is_empty() => keys(table, &format!("{prefix}{name}.")),
        _ => vec![format!("{prefix}{name}")],
    });
    nested.collect()
}

trait MapKeys {
    fn map_keys(&self) -> String;
}

impl MapKeys for [Setting] {
    fn map_keys(&self) -> String {
        let keys: Vec<_> = self.iter().map(|setting| setting.key).collect();
        keys.join(", ")
    }
}

/// The configuration file.
struct File {
    name: String,
    dict: Dict,
}

impl Provider for File {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// One value from one source.
struct One {
    key: &'static str,
    value: Value,
    source: String,
}

impl One {
    fn new(setting: &Setting, value: Value, source: String) -> Self {
        Self { key: setting.key, value, source }
    }
}

impl Provider for One {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let nested = figment::util::nest(self.key, self.value.clone());
        Ok(Profile::Default.collect(nested.into_dict().unwrap_or_default()))
    }
}
