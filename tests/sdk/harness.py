"""Server processes and the SDK's environment for the SDK suite.

Everything here runs before or around `import covalent`; it must never import covalent itself, because
the SDK reads its configuration once, when it is first imported.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import types
from collections import deque
from pathlib import Path

import cloudpickle

READY_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 20.0
ADDRESS = re.compile(r"http://([^\s:/]+):(\d+)")
PANIC = re.compile(r"panicked at|RUST_BACKTRACE|thread '.*' has overflowed its stack")


def isolate_sdk(root: Path) -> None:
    """Points every directory the SDK reads or writes below `root`, for this process and its children."""
    for name in list(os.environ):
        if name.startswith(("COVALENT_", "XDG_")):
            del os.environ[name]
    directories = {
        "HOME": "home",
        "COVALENT_CONFIG_DIR": "config",
        "COVALENT_CACHE_DIR": "cache",
        "COVALENT_LOGDIR": "log",
        "COVALENT_EXECUTOR_DIR": "executors",
        "COVALENT_DATA_DIR": "data",
        "COVALENT_RESULTS_DIR": "results",
        "COVALENT_DISPATCH_CACHE_DIR": "dispatches",
    }
    for variable, name in directories.items():
        path = root / name
        path.mkdir(parents=True, exist_ok=True)
        os.environ[variable] = str(path)
    os.environ["COVALENT_DATABASE"] = str(root / "data" / "dispatcher.sqlite")
    os.environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"


def point_sdk_at(host: str, port: int) -> None:
    """Makes the SDK talk to this address; has an effect only before the first `import covalent`."""
    os.environ["COVALENT_DISPATCHER_ADDR"] = host
    os.environ["COVALENT_SVC_PORT"] = str(port)


def pickle_by_value() -> None:
    """Makes cloudpickle treat test modules as it treats a user's script: runners cannot import them.

    A lattice pickles its function when it is decorated, so this must precede the module's import;
    cloudpickle keeps the name only, and a stand-in is enough.
    """
    tests = (path.stem for path in Path(__file__).parent.glob("test_*.py"))
    for name in ("firing", "meeting", "tagging", *tests):
        stand_in = sys.modules.setdefault(name, types.ModuleType(name))
        cloudpickle.register_pickle_by_value(stand_in)
        if stand_in.__spec__ is None:
            del sys.modules[name]


class ExternalServer:
    """A server that somebody else started; it can be talked to and nothing more."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.host, self.port = host, int(port)
        self.url = f"http://{self.host}:{self.port}"

    def mark(self) -> None:
        """An external server has no log we could read."""

    def log_since_mark(self) -> str:
        return ""


class Server:
    """One server process with a data directory of its own."""

    def __init__(
        self,
        binary: str,
        root: Path,
        *,
        python: str = sys.executable,
        workers: int = 2,
        options: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        self.binary = binary
        self.data_dir = root / "data"
        self.stderr_path = root / "stderr.log"
        self.python = python
        self.workers = workers
        self.options = options
        self.environment = environment or {}
        self.host, self.port = "127.0.0.1", 0
        self.process: subprocess.Popen | None = None
        self.ready_line = ""
        self._marked_at = 0
        root.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None, "the server was never started"
        return self.process.pid

    def command(self) -> list[str]:
        return [
            self.binary,
            "--listen",
            f"{self.host}:{self.port}",
            "--data-dir",
            str(self.data_dir),
            "--python",
            self.python,
            "--workers",
            str(self.workers),
            *self.options,
        ]

    def start(self) -> "Server":
        """Starts the process and returns once it has printed its address."""
        with self.stderr_path.open("ab") as stderr:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **self.environment},
                text=True,
                start_new_session=True,
            )
        ready = threading.Event()
        lines: deque[str] = deque(maxlen=50)
        reader = threading.Thread(
            target=self._read_stdout, args=(self.process.stdout, lines, ready), daemon=True
        )
        reader.start()
        if not ready.wait(READY_TIMEOUT_S) or not self.ready_line:
            code = self.process.poll()
            self.kill9()
            raise RuntimeError(
                f"{' '.join(self.command())}\nprinted no address (exit code {code}).\n"
                f"stdout: {''.join(lines)}\nstderr: {self.stderr_text()}"
            )
        return self

    def _read_stdout(self, stream, lines: deque[str], ready: threading.Event) -> None:
        for line in stream:
            lines.append(line)
            match = ADDRESS.search(line)
            if match and not ready.is_set():
                self.host, self.port = match[1], int(match[2])
                self.ready_line = line
                ready.set()
        ready.set()

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill9(self) -> None:
        """Kills the server process alone, the way a power cut or the OOM killer would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT_S)

    def ask_to_stop(self) -> None:
        """Sends one SIGTERM and does not wait; a second one would end the server without grace."""
        assert self.process is not None, "the server was never started"
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """One SIGTERM; returns the exit code."""
        if self.alive():
            self.ask_to_stop()
        return self.wait()

    def wait(self) -> int:
        """Waits for a server that has been asked to stop; returns the exit code."""
        assert self.process is not None, "the server was never started"
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise AssertionError(f"the server ignored SIGTERM for {STOP_TIMEOUT_S} s") from None

    def restart(self) -> "Server":
        """Starts again on the same data directory and port, after `kill9` or `stop`."""
        assert not self.alive(), "stop or kill the server before restarting it"
        self.ready_line = ""
        return self.start()

    def mark(self) -> None:
        """Remembers the end of the log, so that a failing test shows only its own part."""
        self._marked_at = self.stderr_path.stat().st_size if self.stderr_path.exists() else 0

    def log_since_mark(self) -> str:
        return self.stderr_text(self._marked_at)

    def stderr_text(self, start: int = 0) -> str:
        if not self.stderr_path.exists():
            return ""
        return self.stderr_path.read_bytes()[start:].decode("utf-8", "replace")

    def panics(self) -> list[str]:
        return [line for line in self.stderr_text().splitlines() if PANIC.search(line)]


def processes_below(pid: int) -> set[int]:
    """All living descendants of a process."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    queue = [pid]
    while queue:
        for child in children.get(queue.pop(), []):
            found.add(child)
            queue.append(child)
    return found


def process_is_gone(pid: int) -> bool:
    """True when the process has ended, reaped or not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def memory_kib(pid: int, field: str) -> int:
    """`VmRSS` or `VmHWM` (the peak) of a process, in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise AssertionError(f"/proc/{pid}/status has no {field}")
