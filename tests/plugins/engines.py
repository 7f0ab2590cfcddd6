"""Dask, SSH and Slurm as the tests meet them: `cargo xtask services --engines` starts them and names them here.

Without them the tests say so and are skipped; with `CI=true` they fail. What a test kills, it has started itself, or it
is a session of its own. Importing this must not import covalent.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

DASK = "COV_TEST_DASK_ADDRESS"
SSH = "COV_TEST_SSH_URL"
SLURM = "COV_TEST_SLURM_CONF"
HOST_ALIAS = "cov-node"
READY_S = 30


def needed(variable: str) -> str:
    """What the variable says; the test cannot do without it."""
    value = os.environ.get(variable, "")
    if not value:
        text = f"{variable} is not set: cargo xtask services --engines -- COMMAND"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)
    return value


def until(found, seconds: float = READY_S):
    """What `found` returns as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"{found} is not true after {seconds} s"
        time.sleep(0.05)
    return value


def tell_ssh(home: Path) -> None:
    """The plugins for SSH and Slurm have no option for a port; they read the user's own file."""
    address = os.environ.get(SSH)
    if address:
        folder = home / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        parts = urlsplit(address)
        text = f"Host {HOST_ALIAS}\n  HostName {parts.hostname}\n  Port {parts.port}\n"
        (folder / "config").write_text(text)


class SshNode:
    """Where `ssh` leads to: this machine, and the user who runs the tests."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.user, self.key = parts.username, parts.path

    def executor(self, tmp_path: Path, **options):
        """The plugin's executor, with a key and folders of this test's own."""
        import covalent as ct

        cache = tmp_path / "ssh-cache"
        cache.mkdir(exist_ok=True)
        ours = {
            "username": self.user,
            "hostname": HOST_ALIAS,
            "ssh_key_file": self.key,
            "cache_dir": str(cache),
            "python_path": sys.executable,
            "remote_cache": str(tmp_path / "remote"),
            "remote_workdir": str(tmp_path / "remote-work"),
            "poll_freq": 1,
            "max_connection_attempts": 2,
            "retry_wait_time": 1,
        }
        return ct.executor.SSHExecutor(**{**ours, **options})


class Slurm:
    """The private Slurm. Its node has no conda, and the plugin cannot do without: a function stands in for it."""

    def __init__(self, conf: str, node: SshNode, tmp_path: Path) -> None:
        self.conf, self._node, self._folder = conf, node, tmp_path
        self._profile = tmp_path / "profile"
        folder = Path(sys.executable).parent
        self._profile.write_text(f"conda() {{ return 0; }}\nexport PATH={folder}:$PATH\n")

    def executor(self, **options):
        import covalent as ct

        cache = self._folder / "slurm-cache"
        cache.mkdir(exist_ok=True)
        ours = {
            "username": self._node.user,
            "address": HOST_ALIAS,
            "ssh_key_file": self._node.key,
            "remote_workdir": str(self._folder / "slurm-work"),
            "bashrc_path": str(self._profile),
            "cache_dir": str(cache),
            "use_srun": False,
        }
        return ct.executor.SlurmExecutor(**{**ours, **options})

    def ask(self, *command: str) -> str:
        """What one of Slurm's programs prints."""
        environment = {**os.environ, "SLURM_CONF": self.conf}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=READY_S
        ).stdout

    def jobs(self, dispatch_id: str) -> list[str]:
        """The jobs of a dispatch that wait or run."""
        lines = self.ask("squeue", "-h", "-o", "%i %j").splitlines()
        return [line.split()[0] for line in lines if dispatch_id in line]


class Cluster:
    """A Dask scheduler and its workers, each a process of its own that may be killed."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        folder.mkdir()
        self._folder, self._workers = folder, workers
        self._running: list[subprocess.Popen] = []
        self._port = 0
        self.address = ""
        self.start()

    def start(self) -> None:
        """A new scheduler at the same address, with new workers."""
        file = self._folder / "scheduler.json"
        file.unlink(missing_ok=True)
        arguments = ["--host", "127.0.0.1", "--port", str(self._port), "--scheduler-file", str(file)]
        self.scheduler = self._launch("scheduler", *arguments)
        self.address = until(lambda: self._address_in(file))
        self._port = int(self.address.rpartition(":")[2])
        for _ in range(self._workers):
            self.start_worker()

    def start_worker(self) -> subprocess.Popen:
        """One more worker, of one thread, which nobody starts again when it dies."""
        options = ["--no-nanny", "--nthreads", "1", "--host", "127.0.0.1"]
        return self._launch("worker", self.address, *options)

    def stop_scheduler(self) -> None:
        """Kills the scheduler, and waits for the workers to notice."""
        for process in self._running:
            process.kill()
            process.wait(READY_S)
        self._running.clear()

    def keys(self) -> list[str]:
        """The tasks that the scheduler knows of."""
        return keys_at(self.address)

    def close(self) -> None:
        self.stop_scheduler()

    @staticmethod
    def _address_in(file: Path) -> str:
        try:
            return json.loads(file.read_text())["address"]
        except (OSError, ValueError):
            return ""

    def _launch(self, part: str, *arguments: str) -> subprocess.Popen:
        program = str(Path(sys.executable).with_name("dask"))
        log = (self._folder / f"{part}.log").open("ab")
        with log:
            process = subprocess.Popen(
                [program, part, "--dashboard-address", "127.0.0.1:0", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        self._running.append(process)
        return process


def keys_at(address: str) -> list[str]:
    """The tasks that a Dask scheduler knows of."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        return client.run_on_scheduler(lambda dask_scheduler: [str(key) for key in dask_scheduler.tasks])


def why(result) -> str:
    """All that is said of a dispatch that must have failed: an executor's words are not in the result's own error."""
    import covalent as ct
    from checks import describe

    text = describe(result)
    assert result.status == ct.status.FAILED, text
    return text


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def session_above(pid: int) -> int:
    """The `sshd` that holds the session a process belongs to. Runs inside tasks too."""
    while pid > 1:
        fields = Path(f"/proc/{pid}/stat").read_text()
        if "(sshd)" in fields:
            return pid
        pid = int(fields.rpartition(")")[2].split()[1])
    raise LookupError("not below an sshd")
