"""The command `cov` with a server of its own in the background, for tests of purges, backups and restoring.

The command stands beside the server under test; building the workspace makes both.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import PANIC


class Cov:
    """One user of `cov`: a home, and the server in the background that belongs to it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data_dir = home / "data"
        self.binary = Path(os.environ["COV_SERVER_BIN"]).with_name("cov")
        if not self.binary.exists():
            pytest.fail(f"{self.binary} does not exist: build the package cov-cli too")
        self.url = ""
        self.pid = 0
        home.mkdir(parents=True, exist_ok=True)

    def run(self, *words: str, code: int = 0) -> dict:
        """Runs one command and returns what it said as JSON."""
        done = self.run_any(*words)
        assert done.returncode == code, f"cov {' '.join(words)}: {done.returncode}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout else {"errors": done.stderr}

    def run_any(self, *words: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "HOME": str(self.home), "NO_COLOR": "1"}
        command = [str(self.binary), "--json", *words]
        return subprocess.run(
            command, env=environment, cwd=self.home, capture_output=True, text=True, timeout=100
        )

    def start(self, data_dir: Path | None = None) -> "Cov":
        self.data_dir = data_dir or self.data_dir
        place = ("--listen", "127.0.0.1:0", "--data-dir", str(self.data_dir))
        said = self.run("start", *place, "--python", sys.executable, "--workers", "2")
        self.url, self.pid = said["address"], said["pid"]
        return self

    def kill9(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.run("stop")

    def log(self) -> str:
        return (self.home / ".local/state/cov/server.log").read_text()

    def contents(self) -> list[Path]:
        """The files of large contents."""
        return [path for path in (self.data_dir / "contents").rglob("*") if path.is_file()]

    def end(self) -> None:
        """Stops the server; it must not have panicked."""
        self.run_any("stop", "--now")
        panics = [line for line in self.log().splitlines() if PANIC.search(line)]
        assert not panics, "a server panicked:\n" + "\n".join(panics)
