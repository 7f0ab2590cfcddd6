//! `services`: private PostgreSQL, MariaDB and Prometheus servers for tests, on free ports, in a temporary directory.
//!
//! Never touches a server of the system, and leaves neither processes nor files behind.

mod account;
mod keeper;
mod mariadb;
mod postgres;
mod prometheus;
mod server;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{run, say, system};
use keeper::Keeper;
use server::{Kind, Preparation};

/// The administrator of both databases, who may do everything in them.
const USER: &str = "cov";

/// It holds what a connection string has to escape, so that whoever reads one wrongly is found out.
const PASSWORD: &str = "k@t/ze:1";

/// [`PASSWORD`] as a connection string holds it.
const PASSWORD_IN_URL: &str = "k%40t%2Fze%3A1";

/// What to do about a server that is not installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Install it; when that is not possible, fail.
    Install,
    /// Install it only where nobody has to be asked: as root. Otherwise go on without it.
    Skip,
}

/// Running servers. They end with this value, and also when this program is interrupted.
pub(crate) struct Services {
    keeper: Keeper,
    variables: Vec<(&'static str, String)>,
    notes: Vec<String>,
}

impl Services {
    /// Starts the servers, side by side.
    ///
    /// To be called on the main thread: the kernel stops the servers when the thread that started them ends.
    ///
    /// # Errors
    ///
    /// When one cannot be had, is not installed and `missing` forbids to go without it, or does not start; the error
    /// shows the end of its log.
    pub(crate) fn start(missing: Missing) -> anyhow::Result<Self> {
        let (found, notes) = find(missing)?;
        let mut services = Self { keeper: Keeper::new()?, variables: Vec::new(), notes };
        services.variables = start_all(&found, &services.keeper)?;
        services.notes.splice(..0, found.iter().map(|kind| kind.version()));
        Ok(services)
    }

    /// The environment variables that name the servers, with their addresses.
    pub(crate) fn variables(&self) -> &[(&'static str, String)] {
        &self.variables
    }

    /// What runs and what is missing, for a person.
    pub(crate) fn note(&self) -> String {
        self.notes.join(", ")
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.keeper.stop();
    }
}

/// Runs `services [-- COMMAND…]`: with a command until that ends, without one until interrupted.
///
/// # Errors
///
/// When the servers cannot be had, or the command fails.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let command = command_of(arguments)?;
    let begun = Instant::now();
    let services = Services::start(Missing::Install)?;
    let note = format!("{}, ready in {}", services.note(), run::seconds(begun.elapsed()));
    let Some((program, rest)) = command else {
        for (name, value) in services.variables() {
            say::line(&format!("export {name}='{value}'"));
        }
        say::line(&format!("# {note}; Ctrl-C stops them"));
        services.keeper.wait_for_signal()
    };
    say::aside(&format!("services: {note}"));
    let mut child = Command::new(program);
    child.args(rest).envs(services.variables().iter().map(|(name, value)| (*name, value)));
    let status = services.keeper.run_command(&mut child)?;
    let asked = Instant::now();
    drop(services);
    say::aside(&format!("services: stopped in {}", run::seconds(asked.elapsed())));
    anyhow::ensure!(status.success(), "{program}: {status}");
    Ok(())
}

/// The command after `--`, if there is one.
fn command_of(arguments: &[String]) -> anyhow::Result<Option<(&String, &[String])>> {
    match arguments.split_first() {
        None => Ok(None),
        Some((dashes, rest)) if dashes == "--" && !rest.is_empty() => Ok(rest.split_first()),
        Some(_) => anyhow::bail!("there is only `services` and `services -- COMMAND [ARGUMENTS]`"),
    }
}

fn start_all(
    kinds: &[&'static dyn Kind],
    keeper: &Keeper,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let home = keeper.home()?;
    let prepare = |kind: &&dyn Kind| Preparation::begin(*kind, keeper, &home);
    let prepared: Vec<_> = kinds.iter().map(prepare).collect::<anyhow::Result<_>>()?;
    prepared.into_iter().try_for_each(Preparation::wait)?;
    let begin = |kind: &&dyn Kind| server::begin(*kind, keeper, &home);
    let attempts: Vec<_> = kinds.iter().map(begin).collect::<anyhow::Result<_>>()?;
    let mut variables = Vec::new();
    for (kind, attempt) in kinds.iter().zip(attempts) {
        let port = server::await_ready(attempt, *kind, keeper, &home)?;
        variables.push((kind.variable(), kind.url(port)));
    }
    Ok(variables)
}

/// The kinds as far as they are there, after installing what is missing and may be installed.
fn find(missing: Missing) -> anyhow::Result<(Vec<&'static dyn Kind>, Vec<String>)> {
    let all: [&'static dyn Kind; 3] =
        [&postgres::Postgres, &mariadb::MariaDb, &prometheus::Prometheus];
    let absent: Vec<&str> =
        all.iter().filter(|kind| kind.program().is_none()).map(|kind| kind.package()).collect();
    if !absent.is_empty() && (missing == Missing::Install || system::is_root()) {
        let installed = system::install_servers(&absent);
        if missing == Missing::Install {
            installed?;
        }
    }
    let (found, without): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|kind| kind.program().is_some());
    let names: Vec<&str> = without.iter().map(|kind| kind.name()).collect();
    anyhow::ensure!(
        names.is_empty() || missing == Missing::Skip,
        "{} cannot be found, although it is said to be installed",
        names.join(" and ")
    );
    let notes = without
        .iter()
        .map(|kind| {
            format!(
                "no {}: its tests are skipped (apt-get install {})",
                kind.name(),
                kind.package()
            )
        })
        .collect();
    Ok((found, notes))
}

/// How long a server may take for any one step: to make its files, to be ready, to stop.
const STEP_MAX: Duration = Duration::from_secs(60);

/// The path as text, for a program's arguments.
fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{SocketAddr, TcpStream};
    use std::path::PathBuf;

    use super::{Missing, Services, command_of};

    fn address(url: &str) -> SocketAddr {
        let (_, after_scheme) = url.split_once("://").unwrap();
        let after_password = after_scheme.rsplit('@').next().unwrap();
        after_password.split('/').next().unwrap().parse().unwrap()
    }

    #[test]
    fn servers_answer_until_they_are_dropped_and_leave_nothing_behind() {
        let services = Services::start(Missing::Skip).unwrap();
        let strict = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        let home: PathBuf = services.keeper.directory().unwrap();
        let addresses: Vec<_> = services.variables().iter().map(|(_, url)| address(url)).collect();
        if addresses.len() < 3 {
            assert!(!strict, "{}", services.note());
            crate::say::line(&format!("skipped in part: {}", services.note()));
        }
        for (name, url) in services.variables() {
            let mut stream = TcpStream::connect(address(url)).unwrap();
            if *name == "COV_TEST_MYSQL_URL" {
                let mut greeting = [0; 64];
                let length = stream.read(&mut greeting).unwrap();
                assert!(String::from_utf8_lossy(&greeting[..length]).contains("MariaDB"));
            }
        }
        assert!(
            home.join("password").is_file()
                || home.join("first.sql").is_file()
                || home.join("targets.json").is_file()
                || addresses.is_empty()
        );
        drop(services);
        assert!(!home.exists());
        for address in addresses {
            assert!(TcpStream::connect(address).is_err(), "{address} still answers");
        }
    }

    #[test]
    fn a_command_follows_two_dashes() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert!(command_of(&[]).unwrap().is_none());
        let arguments = words("-- env -0");
        let (program, rest) = command_of(&arguments).unwrap().unwrap();
        assert_eq!((program.as_str(), rest), ("env", &words("-0")[..]));
        for wrong in ["env", "--", "--port 1"] {
            assert!(command_of(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
