//! How a private SSH server is made and run: on loopback, for the user who runs this program, with a key made for it.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::server::Kind;
use super::{account, slurm, text};
use crate::{run, system};

/// An `sshd` of root wants this empty directory; a service of the system would have made it.
const EMPTY: &str = "/run/sshd";

/// OpenSSH's server.
pub(super) struct Sshd;

impl Kind for Sshd {
    fn name(&self) -> &'static str {
        "sshd"
    }

    fn package(&self) -> Option<&'static str> {
        Some("openssh-server")
    }

    fn program(&self) -> Option<PathBuf> {
        system::on_path("sshd", &["/usr/sbin", "/usr/local/sbin"])
    }

    /// The path is that of the private key.
    fn address(&self, home: &Path, port: u16) -> Option<(&'static str, String)> {
        let user = system::user_name().ok()?;
        let key = text(&home.join("ssh").join("user-key"));
        Some(("COV_TEST_SSH_URL", format!("ssh://{user}@127.0.0.1:{port}{key}")))
    }

    fn preparation(&self, home: &Path) -> anyhow::Result<Option<(Command, Vec<u8>)>> {
        if system::is_root() {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(EMPTY)?;
        }
        let folder = home.join("ssh");
        std::fs::create_dir(&folder)?;
        make_key(&folder.join("host-key"))?;
        make_key(&folder.join("user-key"))?;
        std::fs::write(folder.join("sshd.conf"), settings(home))?;
        let mut command = Command::new(self.program().context("sshd is not installed")?);
        command.args(["-t", "-f", &text(&folder.join("sshd.conf"))]);
        Ok(Some((command, Vec::new())))
    }

    fn serving(&self, home: &Path, port: u16) -> anyhow::Result<Command> {
        let program = self.program().context("sshd is not installed")?;
        let mut command = account::program(&program, None, self.stop_signal());
        command.args(["-D", "-e", "-p", &port.to_string()]);
        command.args(["-f", &text(&home.join("ssh").join("sshd.conf"))]);
        Ok(command)
    }

    fn ready_mark(&self) -> &'static str {
        "Server listening on"
    }

    fn stop_signal(&self) -> &'static str {
        "TERM"
    }

    fn version(&self) -> Option<String> {
        Some(self.name().to_owned())
    }
}

fn make_key(path: &Path) -> anyhow::Result<()> {
    let arguments = ["-q", "-t", "ed25519", "-N", "", "-f", &text(path)];
    run::text(Command::new("ssh-keygen").args(arguments)).map(|_printed| ())
}

/// A session knows the private Slurm, and keeps its hands off the user's own files of Covalent.
fn settings(home: &Path) -> String {
    let folder = text(&home.join("ssh"));
    let slurm = text(&slurm::settings(home));
    format!(
        "ListenAddress 127.0.0.1\nHostKey {folder}/host-key\nPidFile none\n\
         AuthorizedKeysFile {folder}/user-key.pub\nPasswordAuthentication no\nPermitRootLogin yes\n\
         StrictModes no\nUsePAM no\nPrintMotd no\nMaxStartups 200\nMaxSessions 200\n\
         Subsystem sftp internal-sftp\n\
         SetEnv SLURM_CONF={slurm} COVALENT_CONFIG_DIR={folder}/covalent HOME={folder}\n"
    )
}
