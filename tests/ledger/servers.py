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
from pathlib import Path

from judge import Killed

READY_LIMIT_S = 30.0
RUNNER_LIMIT_S = 30.0
STRIKES = ("server", "runner", "zygote", "freeze", "undead")


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


def entity_tag(uri: str) -> str | None:
    """The ETag of a file, which names its bytes. None when nobody answers."""
    address, path = uri.removeprefix("http://").split("/", 1)
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("HEAD", f"/{path}")
        response = connection.getresponse()
        return response.getheader("ETag") if response.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def send(pid: int, number: int) -> None:
    """Sends a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def parent_of(stat: str) -> int:
    """The parent in a line of /proc/<pid>/stat."""
    return int(stat[stat.rindex(")") + 2 :].split()[1])


def named_processes(name: str) -> list[tuple[int, int]]:
    """All processes of this name, each with its parent."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        if text[text.index("(") + 1 : text.rindex(")")] == name:
            found.append((int(stat.parent.name), parent_of(text)))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One server on one address and one data directory, through all its lives."""

    def __init__(self, binary: str, root: Path, python: str, home: Path, chance: random.Random) -> None:
        root.mkdir(parents=True)
        self.chance = chance
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
        """Carries out one strike of a plan.

        `server` is killed and started again; `runner` and `zygote` (the parent of the runners) are
        killed; `freeze` stops a runner for a while; `undead` stops a runner, kills the server, and lets
        whatever is left of the runner go on beside the next server.
        """
        victim = None if what == "server" else self.wait_for_victim(what)
        self.kills.append(Killed(time.time(), what))
        if what in ("runner", "zygote"):
            send(victim, signal.SIGKILL)
        if what in ("freeze", "undead"):
            send(victim, signal.SIGSTOP)
            threading.Timer(frozen_s, send, args=(victim, signal.SIGCONT)).start()
        if what in ("server", "undead"):
            self.process.kill()
            self.process.wait()
            time.sleep(down_s)
            self.start()

    def wait_for_victim(self, what: str) -> int:
        """One of the processes that run tasks (`cov-runner`), or their parent."""
        began = time.monotonic()
        while time.monotonic() - began < RUNNER_LIMIT_S:
            runners = [(pid, parent) for pid, parent in named_processes("cov-runner") if self.is_ours(parent)]
            if runners:
                pid, parent = self.chance.choice(sorted(runners))
                return parent if what == "zygote" else pid
            time.sleep(0.005)
        raise SystemExit(f"the server has no runner; see {self.root / 'server.log'}")

    def is_ours(self, zygote: int) -> bool:
        """Whether this is the server's; between them stands the keeper."""
        try:
            keeper = parent_of(Path(f"/proc/{zygote}/stat").read_text())
            return parent_of(Path(f"/proc/{keeper}/stat").read_text()) == self.process.pid
        except OSError:
            return False

    def stop(self) -> None:
        """Ends it in peace."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
