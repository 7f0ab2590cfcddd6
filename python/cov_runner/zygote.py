"""The zygote: holds what tasks import, forks runners, and sees to it that they end.

One thread, one loop. It is the parent of all runners and adopts what they leave behind, so it can
say when everything that a runner started is gone. When the server goes, however it goes, the
control connection closes: the zygote then kills everything and ends.
"""

from __future__ import annotations

import array
import contextlib
import gc
import os
import platform
import select
import shutil
import signal
import socket
import stat
import sys
import time
from typing import Any, Dict, Iterator, List, NoReturn, Optional, Tuple

from . import frames, runner, system
from .frames import Fork, Kill
from .runner import Versions
from .task import Settings

_WITHOUT_COVALENT = "--import-covalent-late"
_READ_BYTES = 64 * 1024
_FDS_MAX = 64


class Child:
    """A runner, as its parent sees it."""

    def __init__(self, number: int, pid: int) -> None:
        self.number = number
        self.pid = pid
        # Until when a runner that shall end, and all that it started, may take its time.
        self.deadline: Optional[float] = None
        self.forced = False
        self.exit: Optional[os.waitid_result] = None

    def how(self) -> Tuple[bool, int]:
        """Whether it ended by a signal; and which signal, or which exit code."""
        if self.exit is None:
            raise ValueError("the process has not ended")
        return self.exit.si_code != os.CLD_EXITED, self.exit.si_status


class Zygote:
    """The loop and what it knows."""

    def __init__(self, control: socket.socket, settings: Settings, versions: Versions) -> None:
        self._control = control
        self._settings = settings
        self._versions = versions
        self._children: Dict[int, Child] = {}
        self._received = b""
        self._fds: List[int] = []
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def serve(self) -> None:
        """Says hello, then serves until the control connection closes."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._send(frames.hello(os.getpid(), *self._versions))
        while True:
            sources: List[Any] = [self._control, self._wake_read]
            ready, _, _ = select.select(sources, [], [], self._patience())
            if self._wake_read in ready:
                self._drain_wakeups()
            if self._control in ready and not self._receive():
                self._end_all()
                return
            self._settle()

    def _patience(self) -> Optional[float]:
        deadlines = [
            child.deadline
            for child in self._children.values()
            if child.deadline is not None and not child.forced
        ]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _drain_wakeups(self) -> None:
        try:
            while os.read(self._wake_read, 4096):
                pass
        except BlockingIOError:
            pass

    def _receive(self) -> bool:
        space = socket.CMSG_SPACE(_FDS_MAX * array.array("i").itemsize)
        try:
            data, ancillary, _, _ = self._control.recvmsg(
                _READ_BYTES, space, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            return False
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                self._fds.extend(fds)
        self._received += data
        while len(self._received) >= 4:
            end = 4 + int.from_bytes(self._received[:4], "little")
            if len(self._received) < end:
                break
            body, self._received = self._received[4:end], self._received[end:]
            self._handle(frames.read_request(memoryview(body)))
        return bool(data)

    def _handle(self, request: object) -> None:
        if isinstance(request, Fork):
            self._fork(request.runner)
        elif isinstance(request, Kill):
            self._kill(request)

    def _fork(self, number: int) -> None:
        if not self._fds:
            self._send(frames.fork_failed(number, "too many open files"))
            return
        sock = socket.socket(fileno=self._fds.pop(0))
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            sock.close()
            self._send(frames.fork_failed(number, str(error)))
            return
        if pid == 0:
            self._become_runner(number, sock, parent)
        sock.close()
        self._children[number] = Child(number, pid)
        self._send(frames.forked(number, pid))

    def _become_runner(self, number: int, sock: socket.socket, parent: int) -> NoReturn:
        try:
            system.die_with_parent(parent)
            os.setsid()
            signal.set_wakeup_fd(-1)
            for fd in (self._wake_read, self._wake_write, *self._fds):
                os.close(fd)
            self._control.close()
            versions = self._versions
            if _WITHOUT_COVALENT in sys.argv:
                versions = versions._replace(covalent=import_covalent(self._settings.run_dir))
            sock.setblocking(True)
        except BaseException as error:
            os.write(2, f"a runner cannot start: {error}\n".encode())
            os._exit(runner.EXIT_DISCONNECTED)
        runner.main(number, sock, self._settings, versions)

    def _kill(self, request: Kill) -> None:
        child = self._children.get(request.runner)
        if child is None:
            return
        deadline = time.monotonic() + request.grace
        first = child.deadline is None
        child.deadline = deadline if child.deadline is None else min(deadline, child.deadline)
        if first and request.grace > 0:
            below = system.descendants(child.pid)
            system.signal_group(child.pid, signal.SIGTERM)
            for pid in below:
                if _group_of(pid) != child.pid:
                    system.signal_process(pid, signal.SIGTERM)

    def _settle(self) -> None:
        """Takes every runner that is dying one step on."""
        for child in self._children.values():
            if child.exit is None:
                self._watch(child)
        dead = [child for child in self._children.values() if child.exit is not None]
        if not dead:
            return
        left = self._orphans(force=any(child.forced for child in dead))
        if left:
            return
        for child in dead:
            del self._children[child.number]
            self._send(frames.exited(child.number, *child.how()))

    def _watch(self, child: Child) -> None:
        if child.deadline is not None and not child.forced and time.monotonic() >= child.deadline:
            child.forced = True
            system.signal_group(child.pid, signal.SIGKILL)
        # The process is looked at first and waited for last: until then its id, which is also its
        # group's, cannot come to name another.
        flags = os.WEXITED | os.WNOHANG
        result = os.waitid(os.P_PID, child.pid, flags | os.WNOWAIT)
        if result is None:
            return
        if child.deadline is None:
            child.forced = True
        if child.forced:
            system.signal_group(child.pid, signal.SIGKILL)
        child.exit = os.waitid(os.P_PID, child.pid, flags)

    def _orphans(self, force: bool) -> bool:
        """Waits for adopted processes; kills them if `force`. Whether some are left."""
        known = {child.pid for child in self._children.values() if child.exit is None}
        # The list can miss one while others go; a second look that finds none is trusted.
        for _ in range(2):
            found = [pid for pid in system.children(os.getpid()) if pid not in known]
            for pid in found:
                if force:
                    system.signal_process(pid, signal.SIGKILL)
            left = [pid for pid in found if not _reaped(pid)]
            if left:
                return True
        return False

    def _end_all(self) -> None:
        for child in self._children.values():
            if child.exit is None:
                system.signal_group(child.pid, signal.SIGKILL)
        while True:
            for pid in system.children(os.getpid()):
                system.signal_process(pid, signal.SIGKILL)
            try:
                os.wait()
            except ChildProcessError:
                return

    def _send(self, frame: bytes) -> None:
        try:
            self._control.sendall(frame)
        except OSError:
            # The server is gone; the loop learns it from the next read.
            pass


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def import_covalent(run_dir: str) -> str:
    """Imports covalent if it is there; returns its version, or nothing."""
    try:
        with _private_configuration(run_dir):
            import covalent
    except ModuleNotFoundError as error:
        if error.name != "covalent":
            _complain(error)
        return ""
    except Exception as error:
        _complain(error)
        return ""
    return str(getattr(covalent, "__version__", "unknown"))


@contextlib.contextmanager
def _private_configuration(run_dir: str) -> Iterator[None]:
    """Lets covalent read its user's configuration, if there is one, from the runners' own copy.

    covalent writes its configuration when it is imported. Were that the user's file, a runner
    could make it before the user's first client does, with another address than the client names.
    """
    variable = "COVALENT_CONFIG_DIR"
    before = os.environ.get(variable)
    users = before or os.environ.get("XDG_CONFIG_DIR") or os.path.expanduser("~/.config/covalent")
    own = os.path.join(run_dir, "covalent")
    os.makedirs(own, exist_ok=True)
    with contextlib.suppress(OSError):
        shutil.copyfile(os.path.join(users, "covalent.conf"), os.path.join(own, "covalent.conf"))
    os.environ[variable] = own
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _complain(error: BaseException) -> None:
    sys.stderr.write(f"covalent cannot be imported: {type(error).__name__}: {error}\n")
    sys.stderr.flush()


def prefer_own_pip(run_dir: str) -> None:
    """Puts the interpreter's folder first in PATH: hooks call plain `pip` and mean its own."""
    folder = os.path.dirname(sys.executable)
    folders = [folder]
    if not os.path.exists(os.path.join(folder, "pip")):
        folders.append(_pip_folder(run_dir))
    rest = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([*folders, rest])


def _pip_folder(run_dir: str) -> str:
    folder = os.path.join(run_dir, "bin")
    os.makedirs(folder, exist_ok=True)
    script = os.path.join(folder, "pip")
    with open(script, "w", encoding="utf-8", errors="surrogateescape") as file:
        python = sys.executable.replace("'", "'\\''")
        file.write(f"#!/bin/sh\nexec '{python}' -m pip \"$@\"\n")
    os.chmod(script, stat.S_IRWXU)
    return folder


def _control() -> socket.socket:
    control = socket.socket(fileno=os.dup(0))
    control.setblocking(True)
    return control


def _import_all(settings_arguments: List[str], run_dir: str) -> Versions:
    import cloudpickle

    covalent = "imported by each runner"
    if _WITHOUT_COVALENT not in settings_arguments:
        covalent = import_covalent(run_dir)
        if system.thread_count() > 1:
            # A fork would take along locks that other threads hold. Start over without it.
            again = [sys.executable, sys.argv[0], *settings_arguments, _WITHOUT_COVALENT]
            os.execv(sys.executable, again)
    return Versions(platform.python_version(), cloudpickle.__version__, covalent)


def main(arguments: List[str]) -> NoReturn:
    """Serves the control connection on descriptor 0 until the server is gone."""
    system.adopt_orphans()
    system.set_name("cov-zygote")
    settings = Settings(arguments[0], arguments[1], arguments[2], int(arguments[3]))
    prefer_own_pip(settings.run_dir)
    versions = _import_all(arguments, settings.run_dir)
    control = _control()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    # What is here now stays shared between all runners as long as nobody writes to it.
    gc.collect()
    gc.freeze()
    Zygote(control, settings, versions).serve()
    os._exit(0)
