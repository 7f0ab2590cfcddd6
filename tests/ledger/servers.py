"""Starts, kills and restarts the server of the kill ledger, and asks its API."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

READY_LIMIT_S = 30.0


@dataclass
class Killed:
    """One strike: when, and at what."""

    at: float
    what: str


def api(address: str, path: str) -> tuple[int | None, dict]:
    """One GET. The status is None when nobody answers."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        return response.status, json.loads(body) if response.status == 200 else {}
    except (OSError, http.client.HTTPException, ValueError):
        return None, {}
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One server on one address and one data directory, through all its lives."""

    def __init__(self, binary: str, root: Path, python: str, home: Path) -> None:
        root.mkdir(parents=True)
        self.root, self.binary, self.python, self.home = root, binary, python, home
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.kills: list[Killed] = []
        self.ready_s: list[float] = []

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        began = time.monotonic()
        log = open(self.root / "server.log", "ab")  # noqa: SIM115 - the child keeps it
        command = [self.binary, "--listen", f"127.0.0.1:{self.port}", "--data-dir", str(self.root / "data")]
        self.process = subprocess.Popen(
            [*command, "--python", self.python, "--workers", "2"],
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(self.home)},
        )
        log.close()
        while api(self.address, "/readyz")[0] != 200:
            if self.process.poll() is not None or time.monotonic() - began > READY_LIMIT_S:
                raise SystemExit(f"the server does not start; see {self.root / 'server.log'}")
            time.sleep(0.002)
        self.ready_s.append(time.monotonic() - began)

    def strike(self, what: str, down_s: float, frozen_s: float) -> None:
        """Kills the server and starts it again, or kills or freezes one of its runners."""
        if what == "server":
            self.kills.append(Killed(time.time(), what))
            self.process.kill()
            self.process.wait()
            time.sleep(down_s)
            self.start()
            return
        runner = self.any_runner()
        if runner is None:
            return
        self.kills.append(Killed(time.time(), what))
        try:
            os.kill(runner, signal.SIGKILL if what == "runner" else signal.SIGSTOP)
        except ProcessLookupError:
            return
        if what == "freeze":
            threading.Timer(frozen_s, self.thaw, args=(runner,)).start()

    @staticmethod
    def thaw(runner: int) -> None:
        try:
            os.kill(runner, signal.SIGCONT)
        except ProcessLookupError:
            pass

    def any_runner(self) -> int | None:
        """One of the processes that run tasks: a grandchild named so."""
        runners = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                text = stat.read_text()
            except OSError:
                continue
            name = text[text.index("(") + 1 : text.rindex(")")]
            parent = int(text[text.rindex(")") + 2 :].split()[1])
            if name == "cov-runner" and self.is_ours(parent):
                runners.append(int(stat.parent.name))
        return random.choice(runners) if runners else None

    def is_ours(self, zygote: int) -> bool:
        try:
            text = Path(f"/proc/{zygote}/stat").read_text()
        except OSError:
            return False
        return int(text[text.rindex(")") + 2 :].split()[1]) == self.process.pid

    def stop(self) -> None:
        """Ends it in peace."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
