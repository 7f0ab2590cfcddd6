//! The command line, made from the table of settings. Reads the command line and nothing else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::{SETTINGS, Shape, Sources};
use crate::error::EXIT_CODES;

/// What the command line asks for.
#[derive(Debug)]
pub struct Args {
    /// Where the configuration comes from.
    pub sources: Sources,
    /// Print the configuration and end.
    pub print_config: bool,
    /// Leave the session of whoever started this process, so that it outlives a terminal.
    pub own_session: bool,
    /// Stop, as if asked to, when the process with this id, which started this one, is gone.
    pub with_parent: Option<u32>,
    /// Fill the data directory from this backup and end.
    pub restore: Option<PathBuf>,
    /// Make a token of this name and end.
    pub create_token: Option<String>,
    /// Do this with the database and end.
    pub database: Option<DatabaseTask>,
}

/// What can be done with the database of a server that does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseTask {
    /// Read all of it and say what is damaged.
    Check,
    /// Bring it to the schema of this release.
    Migrate,
}

impl Args {
    /// Reads a command line, the program's name first. The environment is taken as given.
    ///
    /// # Errors
    /// The command line cannot be read, or asks for the help text or the version: the error
    /// prints what the user has to see.
    pub fn parse(
        line: impl IntoIterator<Item = OsString>,
        environment: BTreeMap<String, String>,
    ) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(line)?;
        let flags = SETTINGS.iter().filter_map(|setting| {
            Some((setting.key, values(&matches, setting.key, setting.shape)?))
        });
        let sources = Sources {
            file: matches.get_one::<PathBuf>("config").cloned(),
            flags: flags.collect(),
            environment,
        };
        Ok(Self {
            sources,
            print_config: matches.get_flag("print-config"),
            own_session: matches.get_flag("own-session"),
            with_parent: matches.get_one::<u32>("with-parent").copied(),
            restore: matches.get_one::<PathBuf>("restore").cloned(),
            create_token: matches.get_one::<String>("create-token").cloned(),
            database: match (matches.get_flag("check-database"), matches.get_flag("migrate-only")) {
                (true, _) => Some(DatabaseTask::Check),
                (false, true) => Some(DatabaseTask::Migrate),
                (false, false) => None,
            },
        })
    }
}

fn values(matches: &ArgMatches, key: &str, shape: Shape) -> Option<Vec<String>> {
    match shape {
        Shape::Switch => matches.get_flag(key).then(Vec::new),
        Shape::Value(_) | Shape::List(_) => {
            Some(matches.get_many::<String>(key)?.cloned().collect())
        }
    }
}

/// The command line as clap sees it.
pub(crate) fn command() -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Configuration file, in TOML [env: COV_CONFIG]");
    let print = Arg::new("print-config")
        .long("print-config")
        .action(ArgAction::SetTrue)
        .help("Print the configuration, with the source of every value, and end");
    let own_session = Arg::new("own-session")
        .long("own-session")
        .action(ArgAction::SetTrue)
        .hide(true)
        .help("Start a session of its own, away from the terminal");
    let with_parent = Arg::new("with-parent")
        .long("with-parent")
        .value_name("PID")
        .value_parser(value_parser!(u32))
        .conflicts_with("own-session")
        .hide(true)
        .help("Stop when this process, which started the server, is gone");
    let restore = Arg::new("restore")
        .long("restore")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .conflicts_with("print-config")
        .help("Fill the data directory, which must be empty or not exist, from a backup, and end");
    let create_token = Arg::new("create-token")
        .long("create-token")
        .value_name("NAME")
        .conflicts_with_all(["print-config", "restore"])
        .help("Make a token with every right for a server that does not run, print it, and end");
    // `cov db` is what people use.
    let check = Arg::new("check-database")
        .long("check-database")
        .action(ArgAction::SetTrue)
        .conflicts_with_all(["print-config", "restore", "create-token", "migrate-only"])
        .hide(true)
        .help(
            "Read the whole database of a server that does not run, print what is damaged, and end",
        );
    let migrate = Arg::new("migrate-only")
        .long("migrate-only")
        .action(ArgAction::SetTrue)
        .conflicts_with_all(["print-config", "restore", "create-token"])
        .hide(true)
        .help("Bring the database to the schema of this release, and end");
    let settings = SETTINGS.iter().map(|setting| {
        let arg = Arg::new(setting.key).long(setting.flag());
        let arg = match setting.shape {
            Shape::Value(name) => arg.value_name(name).action(ArgAction::Set),
            Shape::Switch => arg.action(ArgAction::SetTrue),
            Shape::List(name) => arg.value_name(name).action(ArgAction::Append),
        };
        let ways = format!("[default: {}] [env: {}]", setting.default, setting.variable());
        arg.help(format!("{} {ways}", setting.help))
            .long_help(format!("{}. {}\n\n{ways}", setting.help, setting.more))
    });
    Command::new("cov-server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Runs workflows of electrons and keeps their results")
        .args(settings)
        .args([config, print, restore, create_token, check, migrate, own_session, with_parent])
        .after_help(EXIT_CODES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Args, clap::Error> {
        let line = std::iter::once("cov-server").chain(line.iter().copied());
        Args::parse(line.map(OsString::from), BTreeMap::new())
    }

    #[test]
    fn every_setting_has_its_flag() {
        command().debug_assert();
        let args = parse(&["--workers", "3", "--insecure", "--allowed-hosts", "a"]).unwrap();
        let expected = [("workers", vec!["3"]), ("insecure", vec![]), ("allowed_hosts", vec!["a"])];
        let expected =
            expected.map(|(key, values)| (key, values.into_iter().map(str::to_owned).collect()));
        assert_eq!(args.sources.flags, Vec::from(expected));
    }

    #[test]
    fn an_unknown_flag_is_refused() {
        assert!(parse(&["--port", "1"]).is_err());
        assert!(parse(&["--config"]).is_err());
    }
}
