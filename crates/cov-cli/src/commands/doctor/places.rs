//! Ports, folders and limits of this machine. Writes nothing that stays.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, getrlimit};

use crate::output::units::bytes;
use crate::view::upkeep::Check;

/// With less free space than this, work stops soon. Bytes.
const FREE_BAD: u64 = 256 << 20;
/// With less than this it may. Bytes.
const FREE_SMALL: u64 = 2 << 30;

/// Files that a server with a few hundred clients opens.
const OPEN_FILES_MIN: u64 = 1_024;

/// Whether a server could listen there. Asked only when none does.
pub(super) fn port(listen: &str) -> Check {
    const NAME: &str = "port";
    if let Some(path) = listen.strip_prefix("unix:") {
        return Check::good(NAME, format!("it will listen on the socket {path}"));
    }
    match TcpListener::bind(listen) {
        Ok(_free) => Check::good(NAME, format!("{listen} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Check::bad(
            NAME,
            format!("another program listens on {listen}"),
            "stop it (`covalent stop`, if it is Covalent's), or choose a port: `cov start --listen 127.0.0.1:PORT`",
        ),
        Err(error) => Check::bad(
            NAME,
            format!("{listen} cannot be listened on: {error}"),
            "choose another address: `cov start --listen 127.0.0.1:48008`",
        ),
    }
}

/// Where the SDK of this user sends its dispatches, if it was configured.
pub(super) fn sdk(server: &str) -> Option<Check> {
    const NAME: &str = "sdk";
    let absolute = |name| std::env::var_os(name).map(PathBuf::from);
    let folder = absolute("COVALENT_CONFIG_DIR")
        .or_else(|| absolute("XDG_CONFIG_HOME").map(|home| home.join("covalent")))
        .or_else(|| absolute("HOME").map(|home| home.join(".config/covalent")))?;
    let path = folder.join("covalent.conf");
    let text = fs::read_to_string(&path).ok()?;
    let (address, port) = dispatcher(&text)?;
    let ours = server.rsplit_once(':').map(|(_, port)| port.trim_end_matches('/'))?;
    let path = path.display();
    Some(match port == ours {
        true => Check::good(NAME, format!("{path} names {address}:{port}")),
        false => Check::warning(
            NAME,
            format!("{path} names {address}:{port}, and the server is at {server}"),
            format!(
                "ct.set_config(\"dispatcher.port\", {ours}), or `cov restart --listen 127.0.0.1:{port}`"
            ),
        ),
    })
}

/// Address and port in the SDK's configuration, which is TOML.
fn dispatcher(text: &str) -> Option<(String, String)> {
    let lines = text.lines().map(str::trim).skip_while(|line| *line != "[dispatcher]").skip(1);
    let (mut address, mut port) = ("localhost".to_owned(), None);
    for line in lines.take_while(|line| !line.starts_with('[')) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = value.trim().trim_matches('"').to_owned();
        match key.trim() {
            "address" => address = value,
            "port" => port = Some(value),
            _ => {}
        }
    }
    Some((address, port?))
}

/// The data directory: its permissions and the space for it.
pub(super) fn data(folder: &Path) -> Vec<Check> {
    const NAME: &str = "data";
    let shown = folder.display();
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let is_made = there == folder;
    let check = match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Err(_) => Check::bad(
            NAME,
            format!("{} cannot be written to", there.display()),
            "give it to this user, or choose another folder with --data-dir",
        ),
        Ok(()) if !is_made => Check::good(NAME, format!("{shown} will be made")),
        Ok(()) => match fs::metadata(folder) {
            Ok(data) if data.permissions().mode() & 0o077 != 0 => Check::warning(
                NAME,
                format!("others may look into {shown}"),
                format!("chmod 700 {shown}"),
            ),
            Ok(data) if data.uid() != rustix::process::geteuid().as_raw() => Check::warning(
                NAME,
                format!("{shown} belongs to another user"),
                "run the server as that user",
            ),
            Ok(_) => Check::good(NAME, shown.to_string()),
            Err(error) => Check::bad(
                NAME,
                format!("{shown}: {error}"),
                "choose another folder with --data-dir",
            ),
        },
    };
    let free = statvfs(there).map(|system| system.f_bavail.saturating_mul(system.f_frsize));
    vec![check, space(free.ok(), there)]
}

fn space(free: Option<u64>, folder: &Path) -> Check {
    const NAME: &str = "disk";
    const ADVICE: &str =
        "`cov purge --older-than 30d` removes what ended long ago, --data-dir names another disk";
    let there = folder.display();
    match free {
        None => {
            Check::warning(NAME, format!("the free space at {there} is unknown"), "look with df")
        }
        Some(free) if free < FREE_BAD => {
            Check::bad(NAME, format!("only {} are free at {there}", bytes(free)), ADVICE)
        }
        Some(free) if free < FREE_SMALL => {
            Check::warning(NAME, format!("{} are free at {there}", bytes(free)), ADVICE)
        }
        Some(free) => Check::good(NAME, format!("{} are free", bytes(free))),
    }
}

/// The folder in which the server in the background is remembered.
pub(super) fn state(log: &Path) -> Check {
    const NAME: &str = "state";
    let folder = log.parent().unwrap_or(Path::new("/"));
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Check::good(NAME, folder.display().to_string()),
        Err(_) => Check::bad(
            NAME,
            format!("{} cannot be written to", there.display()),
            "give it to this user, or set XDG_STATE_HOME to another folder",
        ),
    }
}

/// How many files a process may open.
pub(super) fn open_files() -> Check {
    const NAME: &str = "open files";
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < OPEN_FILES_MIN => Check::warning(
            NAME,
            format!("at most {limit}"),
            "raise the limit (`ulimit -n 16384`): connections, contents and runners need them",
        ),
        Some(limit) => Check::good(NAME, format!("up to {limit}")),
        None => Check::good(NAME, "without a limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::upkeep::Verdict;

    #[test]
    fn a_taken_port_is_found_and_a_free_one_left_free() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        assert_eq!(port(&address).verdict, Verdict::Bad);
        drop(taken);
        assert_eq!(port(&address).verdict, Verdict::Good);
        assert_eq!(port("unix:/run/cov").verdict, Verdict::Good);
        assert_eq!(port("192.0.2.1:1").verdict, Verdict::Bad);
    }

    #[test]
    fn the_configuration_of_the_sdk_is_read() {
        let text =
            "[sdk]\nport = 1\n[dispatcher]\naddress = \"host\"\nport = 48009\n[user]\nport = 2\n";
        assert_eq!(dispatcher(text), Some(("host".into(), "48009".into())));
        assert_eq!(dispatcher("[sdk]\n"), None);
    }

    #[test]
    fn folders_and_space_are_judged() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        assert!(data(&below)[0].found.ends_with("will be made"));
        fs::create_dir_all(&below).unwrap();
        fs::set_permissions(&below, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(data(&below)[0].verdict, Verdict::Warning);
        fs::set_permissions(&below, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(data(&below)[0].verdict, Verdict::Good);
        let verdict = |free| space(free, &below).verdict;
        assert_eq!(verdict(Some(1)), Verdict::Bad);
        assert_eq!(verdict(Some(1 << 30)), Verdict::Warning);
        assert_eq!(verdict(Some(1 << 40)), Verdict::Good);
        assert_eq!(verdict(None), Verdict::Warning);
    }
}
