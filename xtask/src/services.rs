//! `services`: private servers for tests, on free ports, in a temporary directory: PostgreSQL, MariaDB and Prometheus;
//! and the engines that executor plugins talk to, which are Dask, SSH and Slurm.
//!
//! Never touches a server of the system, and leaves neither processes nor files behind.

mod account;
mod dask;
mod keeper;
mod mariadb;
mod postgres;
mod prometheus;
mod server;
mod slurm;
mod sshd;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{python, run, say, system};
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

/// Which servers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// PostgreSQL, MariaDB, Prometheus.
    Databases,
    /// Dask, SSH, Slurm.
    Engines,
}

impl Wanted {
    fn kinds(self) -> Vec<&'static dyn Kind> {
        match self {
            Self::Databases => {
                vec![&postgres::Postgres, &mariadb::MariaDb, &prometheus::Prometheus]
            }
            Self::Engines => vec![
                &dask::Scheduler,
                &dask::Workers,
                &sshd::Sshd,
                &slurm::Munge,
                &slurm::Controller,
                &slurm::Node,
            ],
        }
    }
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
    pub(crate) fn start(wanted: Wanted, missing: Missing) -> anyhow::Result<Self> {
        let (found, notes) = find(wanted, missing)?;
        let mut services = Self { keeper: Keeper::new()?, variables: Vec::new(), notes };
        services.variables = start_all(&found, &services.keeper)?;
        services.notes.splice(..0, found.iter().filter_map(|kind| kind.version()));
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

/// Runs `services [--engines] [-- COMMAND…]`: with a command until that ends, without one until interrupted.
///
/// # Errors
///
/// When the servers cannot be had, or the command fails.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (wanted, command) = command_of(arguments)?;
    let begun = Instant::now();
    let services = Services::start(wanted, Missing::Install)?;
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

/// A program and its arguments.
type Line<'a> = (&'a String, &'a [String]);

/// What is wanted, and the command after `--`, if there is one.
fn command_of(arguments: &[String]) -> anyhow::Result<(Wanted, Option<Line<'_>>)> {
    let (wanted, arguments) = match arguments.split_first() {
        Some((option, rest)) if option == "--engines" => (Wanted::Engines, rest),
        _ => (Wanted::Databases, arguments),
    };
    match arguments.split_first() {
        None => Ok((wanted, None)),
        Some((dashes, rest)) if dashes == "--" && !rest.is_empty() => {
            Ok((wanted, rest.split_first()))
        }
        Some(_) => anyhow::bail!(
            "there is only `services [--engines]` and `services [--engines] -- COMMAND [ARGUMENTS]`"
        ),
    }
}

fn start_all(
    kinds: &[&'static dyn Kind],
    keeper: &Keeper,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let home = keeper.home()?;
    let prepare = |kind: &&dyn Kind| Preparation::begin(*kind, keeper, &home);
    let prepared: Vec<_> = kinds.iter().map(prepare).collect::<anyhow::Result<_>>()?;
    prepared.into_iter().flatten().try_for_each(Preparation::wait)?;
    let last = kinds.iter().map(|kind| kind.wave()).max().unwrap_or_default();
    let mut variables = Vec::new();
    for wave in 0..=last {
        let together: Vec<_> = kinds.iter().copied().filter(|kind| kind.wave() == wave).collect();
        variables.extend(start_together(&together, keeper, &home)?);
    }
    Ok(variables)
}

/// Starts servers whose files are there, and none of which needs another one of them.
fn start_together(
    kinds: &[&'static dyn Kind],
    keeper: &Keeper,
    home: &Path,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let begin = |kind: &&dyn Kind| server::begin(*kind, keeper, home);
    let attempts: Vec<_> = kinds.iter().map(begin).collect::<anyhow::Result<_>>()?;
    let mut variables = Vec::new();
    for (kind, attempt) in kinds.iter().zip(attempts) {
        let port = server::await_ready(attempt, *kind, keeper, home)?;
        variables.extend(kind.address(home, port));
    }
    Ok(variables)
}

/// The kinds as far as they are there, after installing what is missing and may be installed.
fn find(wanted: Wanted, missing: Missing) -> anyhow::Result<(Vec<&'static dyn Kind>, Vec<String>)> {
    if wanted == Wanted::Engines {
        let environment = python::plugins();
        if missing == Missing::Install {
            environment?;
        }
    }
    let all = wanted.kinds();
    let absent: Vec<&str> = all
        .iter()
        .filter(|kind| kind.program().is_none())
        .filter_map(|kind| kind.package())
        .collect();
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
    let how = |kind: &dyn Kind| match kind.package() {
        Some(package) => format!("apt-get install {package}"),
        None => "it comes from the package index".to_owned(),
    };
    let notes = without
        .iter()
        .map(|kind| format!("no {}: its tests are skipped ({})", kind.name(), how(*kind)))
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

    use super::{Missing, Services, Wanted, command_of};

    /// What a port is open at; none for a server that a file names.
    fn address(url: &str) -> Option<SocketAddr> {
        let (_, after_scheme) = url.split_once("://")?;
        let after_password = after_scheme.rsplit('@').next().unwrap();
        Some(after_password.split('/').next().unwrap().parse().unwrap())
    }

    fn answer_until_they_are_dropped(wanted: Wanted, variables: usize) {
        let services = Services::start(wanted, Missing::Skip).unwrap();
        let strict = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        let home: PathBuf = services.keeper.directory().unwrap();
        let is_whole = services.variables().len() == variables;
        if !is_whole {
            assert!(!strict, "{}", services.note());
            crate::say::line(&format!("skipped in part: {}", services.note()));
        }
        let mut addresses = Vec::new();
        for (name, url) in services.variables() {
            let Some(address) = address(url) else {
                assert!(std::fs::metadata(url).unwrap().is_file(), "{name}");
                continue;
            };
            let mut stream = TcpStream::connect(address).unwrap();
            let mark = match *name {
                "COV_TEST_MYSQL_URL" => "MariaDB",
                "COV_TEST_SSH_URL" => "SSH-2.0",
                _ => "",
            };
            let mut greeting = [0; 64];
            let length = if mark.is_empty() { 0 } else { stream.read(&mut greeting).unwrap() };
            assert!(String::from_utf8_lossy(&greeting[..length]).contains(mark), "{name}");
            addresses.push(address);
        }
        assert_eq!(std::fs::read_dir(&home).unwrap().next().is_some(), !addresses.is_empty());
        drop(services);
        assert!(!home.exists());
        for address in addresses {
            assert!(TcpStream::connect(address).is_err(), "{address} still answers");
        }
    }

    #[test]
    fn databases_answer_until_they_are_dropped_and_leave_nothing_behind() {
        answer_until_they_are_dropped(Wanted::Databases, 3);
    }

    #[test]
    fn engines_answer_until_they_are_dropped_and_leave_nothing_behind() {
        answer_until_they_are_dropped(Wanted::Engines, 3);
    }

    #[test]
    fn a_command_follows_two_dashes() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(command_of(&[]).unwrap(), (Wanted::Databases, None));
        assert_eq!(command_of(&words("--engines")).unwrap(), (Wanted::Engines, None));
        let arguments = words("--engines -- env -0");
        let (wanted, command) = command_of(&arguments).unwrap();
        let (program, rest) = command.unwrap();
        assert_eq!((wanted, program.as_str(), rest), (Wanted::Engines, "env", &words("-0")[..]));
        for wrong in ["env", "--", "--engines --", "--port 1"] {
            assert!(command_of(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
