"""No-ops through the host of plugins on Dask, beside Dask's own rate in the same run; prints a table.

    target/sdk-venv/bin/python tests/plugins/measure_host.py [TASKS] [RUNS]

Starts a scheduler with two workers of one thread, and the host as a server starts it, without a server. Dask's own rates
are those of one client that submits each call, and of one that maps them all. The processor's time is told beside the
rates: on a busy machine it says more. Not a test: it asserts only that the results are there.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

PYTHON = Path(__file__).resolve().parents[2] / "python"
sys.path.insert(0, str(PYTHON))

from cov_runner import archive  # noqa: E402
from cov_runner.frames import Connection, Reader, framed, packed_bytes, packed_text  # noqa: E402

WINDOW = 64
DISPATCH = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11"
INLINE_BYTES_MAX = 131072
ENDED = 4
TICK_MS = 1000 // os.sysconf("SC_CLK_TCK")


def noop(value: int) -> int:
    return value


def packed(value: Any) -> bytes:
    """A payload in the frame: an archive."""
    pieces = archive.write(value, archive.CLOUDPICKLE, "a value").pieces()
    return struct.pack("<I", 0) + packed_bytes(b"".join(pieces))


def run_frame(address: str, attempt: int) -> bytes:
    """What the server says for one task with one argument."""
    says = json.dumps({"attributes": {"scheduler_address": address}})
    engine = packed_text("dask") + packed_text(says) + struct.pack("<I", 0)
    head = struct.pack("<Q", attempt) + packed_text(DISPATCH) + struct.pack("<I", 0)
    rest = struct.pack("<BBQI", 0, 1, 1, 1) + packed(attempt) + struct.pack("<QB", 0, 0)
    return framed(struct.pack("<I", 0) + engine + head + packed(noop) + rest)


class Host:
    """The host, and this side of its socket."""

    def __init__(self, folder: Path) -> None:
        self.sock, theirs = socket.socketpair()
        for name in ("run", "spool"):
            (folder / name).mkdir()
        arguments = [folder / "run", folder / "spool", "http://localhost:1", INLINE_BYTES_MAX, 64, ""]
        command = [sys.executable, PYTHON / "start.py", "--plugins", *arguments]
        log = open(folder / "host.log", "wb")
        self.process = subprocess.Popen(list(map(str, command)), stdin=theirs, stdout=log, stderr=log)
        theirs.close()
        self.connection = Connection(self.sock)
        _, reader = self._received()
        reader.u32()
        self.pid = reader.u32()
        self.attempts = 0

    def _received(self) -> Tuple[int, Reader]:
        body = self.connection.receive()
        assert body is not None, "the host ended"
        reader = Reader(body)
        return reader.u32(), reader

    def rate(self, address: str, tasks: int) -> float:
        """Tasks per second, with no more under way than an executor has slots."""
        frames = [run_frame(address, self.attempts + number) for number in range(tasks)]
        self.attempts += tasks
        began, sent, ended = time.monotonic(), 0, 0
        while ended < tasks:
            while sent < tasks and sent - ended < WINDOW:
                self.sock.sendall(frames[sent])
                sent += 1
            kind, reader = self._received()
            if kind == ENDED:
                reader.u64()
                assert reader.u32() == 0, "a task failed"
                ended += 1
        return tasks / (time.monotonic() - began)

    def end(self) -> None:
        self.sock.close()
        self.process.wait()


def submit_rate(client: Any, tasks: int) -> float:
    began = time.monotonic()
    client.gather([client.submit(noop, number, pure=False) for number in range(tasks)])
    return tasks / (time.monotonic() - began)


def map_rate(client: Any, tasks: int) -> float:
    began = time.monotonic()
    client.gather(client.map(noop, range(tasks), pure=False))
    return tasks / (time.monotonic() - began)


def start_dask(folder: Path, started: List["subprocess.Popen[bytes]"]) -> str:
    """A scheduler and two workers; its address."""
    file = folder / "scheduler.json"
    log = open(folder / "dask.log", "wb")

    def start(program: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.{program}", "--no-dashboard"]
        command += ["--scheduler-file", str(file), *arguments]
        started.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=folder))

    start("dask_scheduler", "--host", "127.0.0.1", "--port", "0")
    for _ in range(2):
        start("dask_worker", "--nthreads", "1", "--no-nanny")
    while not file.exists() or not file.read_text().endswith("}"):
        select.select([], [], [], 0.05)
    return str(json.loads(file.read_text())["address"])


def cpu_ms(pid: int) -> int:
    """The processor's time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_MS


def measured(name: str, tasks: int, pids: Dict[str, int], rate: Any) -> None:
    before = {who: cpu_ms(pid) for who, pid in pids.items()}
    result = rate()
    spent = {who: (cpu_ms(pid) - before[who]) / tasks for who, pid in pids.items()}
    told = "  ".join(f"{who} {ms:.2f}" for who, ms in spent.items())
    print(f"{name:8} {result:6.0f} /s   ms each: {told}   all {sum(spent.values()):.2f}", flush=True)


def main() -> None:
    from distributed import Client

    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    started: List["subprocess.Popen[bytes]"] = []
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        os.environ["HOME"] = directory
        try:
            address = start_dask(folder, started)
            host = Host(folder)
            # The first task of each worker imports what tasks need.
            host.rate(address, 50)
            names = ("scheduler", "worker", "worker 2")
            pids = {name: process.pid for name, process in zip(names, started)}
            pids = {**pids, "host": host.pid, "client": os.getpid()}
            with Client(address, set_as_default=False) as client:
                for _ in range(runs):
                    measured("submit", tasks, pids, lambda: submit_rate(client, tasks))
                    measured("map", tasks, pids, lambda: map_rate(client, tasks))
                    measured("host", tasks, pids, lambda: host.rate(address, tasks))
            host.end()
        finally:
            for process in started:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main()
