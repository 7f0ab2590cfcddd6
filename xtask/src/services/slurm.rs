//! How a private Slurm is made and run: a controller and one node, for the user who runs this program.
//!
//! They trust whom a private `munged` vouches for, and listen on loopback only.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::server::{Kind, free_port};
use super::{account, text};
use crate::{run, system};

/// How many bytes the key holds with which `munged` signs.
const KEY_BYTES: usize = 128;

/// The node claims more processors than the machine may have, so that a few jobs run side by side everywhere.
const NODE_CPUS: u32 = 8;

/// Vouches for users.
pub(super) struct Munge;

/// Slurm's controller.
pub(super) struct Controller;

/// The only node.
pub(super) struct Node;

/// The path of Slurm's configuration.
pub(super) fn settings(home: &Path) -> PathBuf {
    home.join("slurm").join("slurm.conf")
}

impl Kind for Munge {
    fn name(&self) -> &'static str {
        "munge"
    }

    fn package(&self) -> Option<&'static str> {
        Some("munge")
    }

    fn program(&self) -> Option<PathBuf> {
        part("munged")
    }

    fn address(&self, _home: &Path, _port: u16) -> Option<(&'static str, String)> {
        None
    }

    fn preparation(&self, home: &Path) -> anyhow::Result<Option<(Command, Vec<u8>)>> {
        let folder = home.join("munge");
        std::fs::create_dir(&folder)?;
        let mut key = [0; KEY_BYTES];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
        std::fs::write(folder.join("key"), key)?;
        std::fs::set_permissions(folder.join("key"), std::fs::Permissions::from_mode(0o600))?;
        Ok(None)
    }

    fn serving(&self, home: &Path, _port: u16) -> anyhow::Result<Command> {
        let program = self.program().context("munge is not installed")?;
        let folder = text(&home.join("munge"));
        let mut command = account::program(&program, None, self.stop_signal());
        command.args(["--foreground", "--force", "--socket", &text(&socket(home))]);
        command.args([
            format!("--key-file={folder}/key"),
            format!("--log-file={folder}/log"),
            format!("--pid-file={folder}/pid"),
            format!("--seed-file={folder}/seed"),
        ]);
        Ok(command)
    }

    fn ready_mark(&self) -> &'static str {
        "work threads"
    }

    fn stop_signal(&self) -> &'static str {
        "TERM"
    }

    fn version(&self) -> Option<String> {
        None
    }
}

impl Kind for Controller {
    fn name(&self) -> &'static str {
        "Slurm"
    }

    fn package(&self) -> Option<&'static str> {
        Some("slurm-wlm")
    }

    fn program(&self) -> Option<PathBuf> {
        part("slurmctld")
    }

    fn wave(&self) -> usize {
        1
    }

    fn address(&self, home: &Path, _port: u16) -> Option<(&'static str, String)> {
        Some(("COV_TEST_SLURM_CONF", text(&settings(home))))
    }

    fn preparation(&self, home: &Path) -> anyhow::Result<Option<(Command, Vec<u8>)>> {
        for folder in ["slurm", "slurm/state", "slurm/spool"] {
            std::fs::create_dir(home.join(folder))?;
        }
        Ok(None)
    }

    fn serving(&self, home: &Path, port: u16) -> anyhow::Result<Command> {
        std::fs::write(settings(home), settings_text(home, port)?)?;
        let program = self.program().context("slurmctld is not installed")?;
        let mut command = account::program(&program, None, self.stop_signal());
        command.args(["-D", "-f", &text(&settings(home))]);
        Ok(command)
    }

    fn ready_mark(&self) -> &'static str {
        "Running as primary controller"
    }

    fn stop_signal(&self) -> &'static str {
        "TERM"
    }

    fn version(&self) -> Option<String> {
        let text = run::text(Command::new(self.program()?).arg("-V")).ok()?;
        Some(format!("Slurm {}", text.split_whitespace().nth(1).unwrap_or("?")))
    }
}

impl Kind for Node {
    fn name(&self) -> &'static str {
        "Slurm node"
    }

    fn package(&self) -> Option<&'static str> {
        Some("slurm-wlm")
    }

    fn program(&self) -> Option<PathBuf> {
        part("slurmd")
    }

    fn wave(&self) -> usize {
        2
    }

    fn address(&self, _home: &Path, _port: u16) -> Option<(&'static str, String)> {
        None
    }

    fn preparation(&self, _home: &Path) -> anyhow::Result<Option<(Command, Vec<u8>)>> {
        Ok(None)
    }

    /// Its port stands in the configuration, where the controller looks for it.
    fn serving(&self, home: &Path, _port: u16) -> anyhow::Result<Command> {
        let program = self.program().context("slurmd is not installed")?;
        let mut command = account::program(&program, None, self.stop_signal());
        command.args(["-D", "-f", &text(&settings(home))]);
        Ok(command)
    }

    fn ready_mark(&self) -> &'static str {
        "slurmd started on"
    }

    fn stop_signal(&self) -> &'static str {
        "TERM"
    }

    fn version(&self) -> Option<String> {
        None
    }
}

/// One of the programs, if none of them is missing.
fn part(name: &str) -> Option<PathBuf> {
    let find = |name: &str| system::on_path(name, &["/usr/sbin", "/usr/local/sbin"]);
    let is_whole =
        ["munged", "slurmctld", "slurmd", "sbatch"].iter().all(|part| find(part).is_some());
    find(name).filter(|_| is_whole)
}

fn socket(home: &Path) -> PathBuf {
    home.join("munge").join("socket")
}

/// Nothing of it needs control groups or a database, so that it runs in a container too.
fn settings_text(home: &Path, port: u16) -> anyhow::Result<String> {
    let host = run::text(Command::new("uname").arg("-n"))?;
    let host = host.trim().split('.').next().unwrap_or_default();
    let user = system::user_name()?;
    let folder = text(&home.join("slurm"));
    let socket = text(&socket(home));
    let node_port = free_port()?;
    Ok(format!(
        "ClusterName=cov\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={port}\n\
         SlurmdPort={node_port}\nCommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n\
         SlurmUser={user}\nSlurmdUser={user}\n\
         AuthType=auth/munge\nAuthInfo=socket={socket}\nCredType=cred/munge\n\
         MpiDefault=none\nProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\n\
         SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\n\
         SchedulerParameters=batch_sched_delay=0,sched_interval=1\nReturnToService=2\nKillWait=2\n\
         JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
         SlurmdParameters=config_overrides\n\
         StateSaveLocation={folder}/state\nSlurmdSpoolDir={folder}/spool\n\
         SlurmctldPidFile={folder}/slurmctld.pid\nSlurmdPidFile={folder}/slurmd.pid\n\
         NodeName={host} NodeAddr=127.0.0.1 CPUs={NODE_CPUS} State=UNKNOWN\n\
         PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
    ))
}
