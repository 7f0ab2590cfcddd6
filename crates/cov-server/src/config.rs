//! The configuration: one struct, read once and checked as a whole. Starts nothing and reads no
//! process environment by itself; the sources are handed in.

mod limits;
mod settings;
mod sources;
mod validate;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use figment::Figment;
use serde::de::DeserializeOwned;

use crate::listen::Listen;

pub use self::limits::Limits;
pub(crate) use self::settings::{SETTINGS, Shape};
pub use self::sources::Sources;

/// Most tasks that may run at once.
pub const WORKERS_MAX: usize = 1024;

/// How many tasks run at once on an executor plugin, unless the configuration says otherwise.
pub const EXECUTOR_SLOTS: usize = 64;

/// Most tasks at once on one executor plugin.
const EXECUTOR_SLOTS_MAX: usize = 10_000;

/// Longest grace period.
pub const GRACE_MAX: Duration = Duration::from_secs(3600);

/// Everything that can be set. Valid by construction when it comes from [`Config::load`].
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Folder for everything that is kept.
    pub data_dir: PathBuf,
    /// Interpreter for tasks; `None` looks for one.
    pub python: Option<PathBuf>,
    /// How many tasks run at once.
    pub workers: usize,
    /// How long a stopping server waits for what is under way.
    pub grace: Duration,
    /// What becomes of tasks that were running when the server died or was stopped.
    pub on_restart: OnRestart,
    /// Whether runners get cgroups of their own.
    pub cgroups: Cgroups,
    /// Where the Dask scheduler is for tasks that do not say.
    pub dask: Option<String>,
    /// Folder of executor plugins; `None` leaves it to the Covalent configuration.
    pub executor_dir: Option<PathBuf>,
    /// How many tasks run at once on an executor plugin, for those that shall have another number
    /// than [`EXECUTOR_SLOTS`].
    pub executor_slots: BTreeMap<String, usize>,
    /// Whether executor plugins are left out.
    pub no_plugins: bool,
    /// Whether triggers are left out.
    pub no_triggers: bool,
    /// Whether nothing but triggers runs.
    pub triggers_only: bool,
    /// With `triggers_only`: the server on which the dispatches are.
    pub dispatcher: Option<String>,
    /// Form of the log.
    pub log_format: LogFormat,
    /// How much is logged; a level or directives.
    pub log_level: String,
    /// Whether nobody is asked for a token.
    pub insecure: bool,
    /// Who needs a token.
    pub login: Login,
    /// Where machines that run tasks elsewhere reach the server, if not where it listens.
    pub public_url: Option<String>,
    /// The certificate, if TLS is spoken.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// How long rows of the audit are kept. Days; 0 keeps them for good.
    pub audit_days: u32,
    /// How many copies of the database from before upgrades are kept; 0 makes none.
    pub upgrade_copies: usize,
    /// Further host names that requests may name.
    pub allowed_hosts: Vec<String>,
    /// What one client may ask for, and all of them together.
    pub limits: Limits,
}

/// Who needs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Login {
    /// Callers from other machines.
    Remote,
    /// Everybody but those who come by a Unix socket.
    Always,
}

/// What becomes of tasks that were running when the server died or was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRestart {
    /// They run again, as a new attempt.
    Rerun,
    /// Their nodes fail, with the fault `lost`.
    Fail,
}

/// Whether runners get cgroups of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cgroups {
    /// If the server can make them.
    Auto,
    /// Never.
    Off,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// One thing that is wrong with a configuration, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Fault {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// Everything that is wrong with a configuration, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for Fault { message, hint } in &self.0 {
            write!(f, "{separator}{message}\n  hint: {hint}")?;
            separator = "\n";
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl Config {
    /// A configuration for a server inside another program: a free port of this machine, and
    /// defaults for the rest.
    #[must_use]
    pub fn embedded(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into(),
            data_dir: data_dir.into(),
            python: None,
            workers: std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX),
            grace: Duration::from_secs(10),
            on_restart: OnRestart::Rerun,
            cgroups: Cgroups::Auto,
            dask: None,
            executor_dir: None,
            executor_slots: BTreeMap::new(),
            no_plugins: false,
            no_triggers: false,
            triggers_only: false,
            dispatcher: None,
            log_format: LogFormat::Human,
            log_level: "info".to_owned(),
            insecure: false,
            login: Login::Remote,
            public_url: None,
            tls_cert: None,
            tls_key: None,
            audit_days: 365,
            upgrade_copies: 2,
            allowed_hosts: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it, not only the first thing.
    pub fn load(sources: &Sources) -> Result<Self, Faults> {
        let (config, mut faults) = Self::gather(sources);
        // The reader has noted what an address is that cannot be read.
        faults.extend(config.exposure());
        if faults.is_empty() { Ok(config) } else { Err(Faults(faults)) }
    }

    /// Reads and checks the configuration for work on the data directory: nothing is listened on.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_for_upkeep(sources: &Sources) -> Result<Self, Faults> {
        let (config, faults) = Self::gather(sources);
        if faults.is_empty() { Ok(config) } else { Err(Faults(faults)) }
    }

    fn gather(sources: &Sources) -> (Self, Vec<Fault>) {
        let mut faults = Vec::new();
        let figment = sources.merge(&mut faults);
        let config = Self::read(&figment, &mut faults);
        faults.extend(config.validate());
        (config, faults)
    }

    /// The configuration as a file that [`Config::load`] reads, with the source of every value.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn print(sources: &Sources) -> Result<String, Faults> {
        let config = Self::load(sources)?;
        let figment = sources.merge(&mut Vec::new());
        let line = |key: &str| {
            let source = figment.find_metadata(key).map_or("not set", |found| &found.name);
            match config.toml_value(key) {
                Some(value) => format!("{} = {value}  # {source}\n", key.replace("limits.", "")),
                None => format!("# {key} is not set\n"),
            }
        };
        let (limits, rest): (Vec<&settings::Setting>, Vec<&settings::Setting>) =
            SETTINGS.iter().partition(|setting| setting.key.starts_with("limits."));
        let mut text: String = rest.iter().map(|setting| line(setting.key)).collect();
        text.push_str("\n[limits]\n");
        text.extend(limits.iter().map(|setting| line(setting.key)));
        Ok(text)
    }

    /// Reads every value. In place of one that is wrong stands one that is right, so that the
    /// others can be checked all the same.
    fn read(figment: &Figment, faults: &mut Vec<Fault>) -> Self {
        let mut config = Self::embedded(".");
        let mut reader = Reader { figment, faults };
        if let Some(address) =
            reader.take::<String>("listen").and_then(|text| reader.address(&text))
        {
            config.listen = address;
        }
        if let Some(grace) = reader.take("grace").and_then(|seconds| reader.grace(seconds)) {
            config.grace = grace;
        }
        if figment.contains("python") {
            config.python = reader.take("python");
        }
        let texts = [
            ("dispatcher", &mut config.dispatcher),
            ("dask", &mut config.dask),
            ("public_url", &mut config.public_url),
        ];
        for (key, place) in texts {
            if figment.contains(key) {
                *place = reader.take(key);
            }
        }
        if figment.contains("executor_dir") {
            config.executor_dir = reader.take("executor_dir");
        }
        if let Some(Names(pairs)) = reader.take("executor_slots") {
            config.executor_slots = reader.slots(&pairs);
        }
        for (key, place) in [("tls_cert", &mut config.tls_cert), ("tls_key", &mut config.tls_key)] {
            if figment.contains(key) {
                *place = reader.take(key);
            }
        }
        if let Some(Names(hosts)) = reader.take("allowed_hosts") {
            config.allowed_hosts = hosts;
        }
        reader.put("data_dir", &mut config.data_dir);
        reader.put("workers", &mut config.workers);
        reader.put("on_restart", &mut config.on_restart);
        reader.put("cgroups", &mut config.cgroups);
        reader.put("no_plugins", &mut config.no_plugins);
        reader.put("no_triggers", &mut config.no_triggers);
        reader.put("triggers_only", &mut config.triggers_only);
        reader.put("log_format", &mut config.log_format);
        reader.put("log_level", &mut config.log_level);
        reader.put("insecure", &mut config.insecure);
        reader.put("login", &mut config.login);
        reader.put("audit_days", &mut config.audit_days);
        reader.put("upgrade_copies", &mut config.upgrade_copies);
        config.limits.read(&mut reader);
        config
    }

    /// A value as TOML writes it; `None` for one that is not set.
    fn toml_value(&self, key: &str) -> Option<String> {
        // A JSON string is a TOML string.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let value = match key {
            "listen" => quoted(&self.listen.to_string()),
            "data_dir" => quoted(&self.data_dir.to_string_lossy()),
            "python" => quoted(&self.python.as_ref()?.to_string_lossy()),
            "workers" => self.workers.to_string(),
            "grace" => self.grace.as_secs_f64().to_string(),
            "on_restart" => quoted(match self.on_restart {
                OnRestart::Rerun => "rerun",
                OnRestart::Fail => "fail",
            }),
            "cgroups" => quoted(match self.cgroups {
                Cgroups::Auto => "auto",
                Cgroups::Off => "off",
            }),
            "dask" => quoted(self.dask.as_ref()?),
            "executor_dir" => quoted(&self.executor_dir.as_ref()?.to_string_lossy()),
            "executor_slots" => {
                let pairs =
                    self.executor_slots.iter().map(|(name, slots)| format!("{name}={slots}"));
                serde_json::Value::from(pairs.collect::<Vec<_>>()).to_string()
            }
            "no_plugins" => self.no_plugins.to_string(),
            "no_triggers" => self.no_triggers.to_string(),
            "triggers_only" => self.triggers_only.to_string(),
            "dispatcher" => quoted(self.dispatcher.as_ref()?),
            "log_format" => quoted(match self.log_format {
                LogFormat::Human => "human",
                LogFormat::Json => "json",
            }),
            "log_level" => quoted(&self.log_level),
            "insecure" => self.insecure.to_string(),
            "allowed_hosts" => serde_json::Value::from(self.allowed_hosts.clone()).to_string(),
            "login" => quoted(match self.login {
                Login::Remote => "remote",
                Login::Always => "always",
            }),
            "public_url" => quoted(self.public_url.as_ref()?),
            "tls_cert" => quoted(&self.tls_cert.as_ref()?.to_string_lossy()),
            "tls_key" => quoted(&self.tls_key.as_ref()?.to_string_lossy()),
            "audit_days" => self.audit_days.to_string(),
            "upgrade_copies" => self.upgrade_copies.to_string(),
            key => return self.limits.toml_value(key),
        };
        Some(value)
    }
}

/// Takes values from the merged sources and notes what is wrong with them.
struct Reader<'a> {
    figment: &'a Figment,
    faults: &'a mut Vec<Fault>,
}

impl Reader<'_> {
    fn put<T: DeserializeOwned>(&mut self, key: &str, place: &mut T) {
        if let Some(value) = self.take(key) {
            *place = value;
        }
    }

    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let Ok(value) = self.figment.find_value(key) else {
            self.faults.push(Fault::new(
                format!("`{key}` is not set and has no default here"),
                format!("give {}", ways(key)),
            ));
            return None;
        };
        let taken = self.figment.extract_inner_lossy(key).ok();
        if taken.is_none() {
            self.refuse(key, &show(&value));
        }
        taken
    }

    fn address(&mut self, text: &str) -> Option<Listen> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.refuse("listen", text);
        }
        parsed
    }

    fn slots(&mut self, pairs: &[String]) -> BTreeMap<String, usize> {
        let mut slots = BTreeMap::new();
        for pair in pairs {
            let parsed = pair.split_once('=').and_then(|(name, count)| {
                let count = count.trim().parse().ok()?;
                let is_right = !name.trim().is_empty() && (1..=EXECUTOR_SLOTS_MAX).contains(&count);
                is_right.then(|| (name.trim().to_owned(), count))
            });
            match parsed {
                Some((name, count)) => drop(slots.insert(name, count)),
                None => self.refuse("executor_slots", pair),
            }
        }
        slots
    }

    fn grace(&mut self, seconds: f64) -> Option<Duration> {
        let parsed = Duration::try_from_secs_f64(seconds).ok().filter(|grace| *grace <= GRACE_MAX);
        if parsed.is_none() {
            self.refuse("grace", &seconds.to_string());
        }
        parsed
    }

    fn refuse(&mut self, key: &str, value: &str) {
        let source = self.figment.find_metadata(key).map_or("unknown", |found| &found.name);
        self.faults.push(not_expected(key, value, source));
    }
}

fn show(value: &figment::value::Value) -> String {
    value.as_str().map_or_else(
        || serde_json::to_string(value).unwrap_or_else(|_| "something else".to_owned()),
        str::to_owned,
    )
}

fn not_expected(key: &str, value: &str, source: &str) -> Fault {
    let expects = settings::find(key).map_or("", |setting| setting.expects);
    Fault::new(format!("`{key}` is `{value}` ({source})"), format!("it must be {expects}"))
}

/// The ways to set a key.
fn ways(key: &str) -> String {
    settings::find(key).map_or_else(String::new, |setting| {
        format!("--{} or {}", setting.flag(), setting.variable())
    })
}

/// Names as a list, or as one text with commas.
struct Names(Vec<String>);

impl<'de> serde::Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesVisitor).map(Names)
    }
}

struct NamesVisitor;

impl<'de> serde::de::Visitor<'de> for NamesVisitor {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names in a list, or in one text with commas")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(names.map(str::to_owned).collect())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element()? {
            names.push(name);
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests;
