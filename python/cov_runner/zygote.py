"""The zygote: holds what tasks import, forks runners, and sees to it that they end.

One thread, one loop. It is the parent of all runners and adopts what they leave behind, so it can
say when everything that a runner started is gone. When the server goes, however it goes, the
control connection closes: the zygote then kills everything and ends.
"""

from __future__ import annotations

import array
import contextlib
import gc
import math
import os
import platform
import select
import shutil
import signal
import socket
import stat
import sys
import time
from typing import Any, Dict, Iterator, List, NoReturn, Optional, Set, Tuple

from . import cgroups, frames, keeper, processes, runner, system
from .cgroups import Cgroups
from .frames import Fork, Kill
from .runner import Versions
from .task import Settings

_WITHOUT_COVALENT = "--import-covalent-late"
_WITHOUT_CGROUPS = "--no-cgroups"
# When to look again after the process table could not be read.
_BLIND_SECONDS = 0.05
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

    def __init__(
        self, control: socket.socket, settings: Settings, versions: Versions, groups: Cgroups
    ) -> None:
        self._control = control
        self._cgroups = groups
        self._settings = settings
        self._versions = versions
        self._children: Dict[int, Child] = {}
        self._received = b""
        self._fds: List[int] = []
        # When to look for what is left, if nothing else happens before. Seconds.
        self._look_in: Optional[float] = None
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def serve(self) -> None:
        """Says hello, then serves until the control connection closes."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._send(frames.hello(os.getpid(), *self._versions))
        # Not before: what is written by then is taken for what went wrong.
        sys.stderr.write(f"cgroups of runners: {self._cgroups.folder() or 'none'}\n")
        sys.stderr.flush()
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
        waits = [max(0.0, deadline - time.monotonic()) for deadline in deadlines]
        if self._look_in is not None:
            waits.append(self._look_in)
        return min(waits) if waits else None

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
        self._cgroups.add(number)
        try:
            pid = os.fork()
        except OSError as error:
            sock.close()
            self._cgroups.remove(number)
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
            self._cgroups.enter(number)
            os.setsid()
            signal.set_wakeup_fd(-1)
            for fd in (self._wake_read, self._wake_write, *self._fds):
                os.close(fd)
            self._control.close()
            versions = self._versions
            if _WITHOUT_COVALENT in sys.argv:
                versions = versions._replace(covalent=import_covalent(self._settings.run_dir))
            _part_generators()
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
        if first and request.grace > 0 and child.exit is None:
            self._ask_to_end(child)

    @staticmethod
    def _ask_to_end(child: Child) -> None:
        try:
            below = processes.below([child.pid], processes.parents())
        except OSError:
            # They can be asked no more, but killed later.
            below = set()
        processes.send_group(child.pid, signal.SIGTERM)
        for pid in below:
            if _group_of(pid) != child.pid:
                processes.send(pid, signal.SIGTERM)

    def _settle(self) -> None:
        """Takes every runner that is dying one step on."""
        self._look_in = None
        for child in self._children.values():
            self._watch(child)
        dead = [child for child in self._children.values() if child.exit is not None]
        if not dead:
            return
        try:
            waiting = self._look(dead)
        except OSError:
            # What cannot be seen may be there.
            self._look_in = _BLIND_SECONDS
            return
        for child in dead:
            if child.number not in waiting:
                del self._children[child.number]
                self._cgroups.remove(child.number)
                self._send(frames.exited(child.number, *child.how()))

    def _watch(self, child: Child) -> None:
        if child.deadline is not None and not child.forced and time.monotonic() >= child.deadline:
            self._force(child)
        if child.exit is not None:
            return
        # The process is looked at first and waited for last: until then its id, which is also its
        # group's, cannot come to name another.
        flags = os.WEXITED | os.WNOHANG
        result = os.waitid(os.P_PID, child.pid, flags | os.WNOWAIT)
        if result is None:
            return
        if child.deadline is None or child.forced:
            self._force(child)
        child.exit = os.waitid(os.P_PID, child.pid, flags)

    def _force(self, child: Child) -> None:
        child.forced = True
        if child.exit is None:
            processes.send_group(child.pid, signal.SIGKILL)
        self._cgroups.kill(child.number)

    def _look(self, dead: List[Child]) -> Set[int]:
        """Looks for what dead runners left, and kills it if its time is over.

        Returns the numbers of those of which it found something, were it only a process that had
        ended: that one can have started another, which this look did not see yet.
        """
        me = os.getpid()
        table = processes.parents()
        found = [pid for pid, parent in table.items() if parent == me and self._is_orphan(pid)]
        owners = {pid: self._owners(pid, dead) for pid in found}
        doomed = [pid for pid in found if _any_forced(owners[pid])]
        for pid in (*doomed, *processes.below(doomed, table)):
            processes.kill(pid)
        left = [pid for pid in found if not processes.reaped(pid)]
        if found and not left:
            # No signal will tell when to look again.
            self._look_in = 0.0
        if any(pid not in left for pid in doomed):
            processes.chase(me, spared=lambda branch: not self._is_doomed(branch, dead))
        return {child.number for pid in found for child in owners[pid]}

    def _is_orphan(self, pid: int) -> bool:
        return all(pid != child.pid or child.exit is not None for child in self._children.values())

    def _is_doomed(self, pid: int, dead: List[Child]) -> bool:
        return self._is_orphan(pid) and _any_forced(self._owners(pid, dead))

    def _owners(self, pid: int, dead: List[Child]) -> List[Child]:
        """Whose an orphan is: of one dead runner, of a living one, or else of all the dead."""
        number = self._cgroups.owner(pid)
        owner = None if number is None else self._children.get(number)
        if owner is None:
            return dead
        return [owner] if owner.exit is not None else []

    def _end_all(self) -> None:
        for child in self._children.values():
            if child.exit is None:
                processes.send_group(child.pid, signal.SIGKILL)
        self._cgroups.kill_all()
        processes.end_all(math.inf)

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


def _any_forced(children: List[Child]) -> bool:
    return any(child.forced for child in children)


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
        if system.thread_count() > 1 and _threads_outlast_forks():
            # A fork would take along locks that other threads hold. Start over without it.
            again = [sys.executable, sys.argv[0], *settings_arguments, _WITHOUT_COVALENT]
            os.execv(sys.executable, again)
    return Versions(platform.python_version(), cloudpickle.__version__, covalent)


def _part_generators() -> None:
    """Gives this fork other random numbers than its siblings. Python sees to its own generator."""
    generators = sys.modules.get("numpy.random")
    if generators is not None:
        generators.seed()


def _threads_outlast_forks() -> bool:
    """Whether a thread goes on while this process forks.

    A library can end its threads before each fork, and begin new ones when it needs them: OpenBLAS
    does, which comes with NumPy. So they are counted again behind a fork.
    """
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return system.thread_count() > 1


def main(arguments: List[str]) -> NoReturn:
    """Serves the control connection on descriptor 0 until the server is gone."""
    if _WITHOUT_COVALENT not in arguments:
        keeper.stay_behind(_WITHOUT_CGROUPS not in arguments)
    groups = cgroups.made_by(os.getppid())
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
    Zygote(control, settings, versions, groups).serve()
    os._exit(0)
