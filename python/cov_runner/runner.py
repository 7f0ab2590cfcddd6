"""A runner: takes tasks from its socket, one after the other, until it is closed.

Between tasks it undoes what a task did to the process as a whole: working directory, environment,
streams, signal handlers.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
from typing import Any, Dict, NamedTuple, NoReturn

try:
    # The public one makes enum members of what it finds, which costs more than all the rest.
    from _signal import getsignal
except ImportError:
    from signal import getsignal

from . import frames, system
from .capture import Capture
from .frames import Task
from .task import Failure, NotStored, Settings, clear_context, enter, run

# Ends a runner whose connection broke. The server knows what to make of it.
EXIT_DISCONNECTED = 75


class Versions(NamedTuple):
    """What a runner holds, in the first message."""

    python: str
    cloudpickle: str
    covalent: str


_HANDLERS: Dict[signal.Signals, Any] = {
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
    signal.SIGCHLD: signal.SIG_DFL,
    signal.SIGALRM: signal.SIG_DFL,
}


class Surroundings:
    """What belongs to the process and not to a task."""

    def __init__(self) -> None:
        self._folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._argv = list(sys.argv)
        self._path = list(sys.path)
        self._handlers = [(int(number), getsignal(number)) for number in _HANDLERS]
        self._environ = os.environ
        self._environment: Dict[bytes, bytes] = {}

    def remember(self) -> None:
        """Notes the environment, just before a task's own code runs."""
        self._environment = environment().copy()

    def restore(self) -> None:
        """Puts back what a task changed."""
        os.fchdir(self._folder)
        os.environ = self._environ
        if environment() != self._environment:
            self._restore_environment()
        if sys.argv != self._argv:
            sys.argv = list(self._argv)
        if sys.path != self._path:
            sys.path[:] = self._path
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._handlers:
            if getsignal(number) is not handler:
                signal.signal(number, handler)

    def _restore_environment(self) -> None:
        for name in [name for name in os.environb if name not in self._environment]:
            del os.environb[name]
        for name, value in self._environment.items():
            if os.environb.get(name) != value:
                os.environb[name] = value


def environment() -> Dict[bytes, bytes]:
    """The environment as bytes. Its inner table where there is one: reading it is much faster."""
    return getattr(os.environ, "_data", None) or dict(os.environb)


class Runner:
    """The loop and what it needs."""

    def __init__(self, number: int, sock: socket.socket, settings: Settings) -> None:
        self._pid = os.getpid()
        self._sock = sock
        queue = frames.take_queue(sock)
        self._queue = frames.Connection(queue)
        # What is to be told with what comes next.
        self._unsent = b""
        self._settings = settings
        base = os.path.join(settings.run_dir, f"runner-{number}")
        self._capture = Capture(base, settings.inline_bytes_max)
        self._surroundings = Surroundings()
        # A process that a task forks must neither hold the connection open nor speak on it.
        os.register_at_fork(after_in_child=lambda: (sock.close(), queue.close()))

    def serve(self, versions: Versions) -> None:
        """Says hello, then runs tasks until the server closes the connection."""
        self._send(frames.hello(self._pid, *versions))
        body = self._queue.receive()
        while body is not None:
            for task in frames.read_tasks(body):
                self._run(task)
            # A task that is there already: its begin is told with the end of this one.
            body = self._queue.receive_now()
            if body is None:
                self._send(b"")
                body = self._queue.receive()

    def _run(self, task: Task) -> None:
        self._send(frames.begun(task.attempt))
        enter(task, self._settings)
        self._surroundings.remember()
        outcome = run(task, self._settings)
        if os.getpid() != self._pid:
            # A process that the task forked came back out of the task's code.
            sys.stdout.flush()
            os._exit(0)
        clear_context()
        self._capture.flush()
        self._surroundings.restore()
        self._capture.restore()
        if isinstance(outcome, Failure):
            print(outcome.text, file=sys.stderr)
            sys.stderr.flush()
        stdout, stderr = self._capture.take(self._settings.spool_base(task.attempt))
        if isinstance(outcome, Failure):
            self._unsent = frames.failed(task.attempt, outcome.message(), stdout, stderr)
        elif isinstance(outcome, NotStored):
            self._unsent = frames.not_stored(task.attempt, outcome.text, stdout, stderr)
        else:
            self._unsent = frames.completed(task.attempt, outcome, stdout, stderr)

    def _send(self, frame: bytes) -> None:
        """Sends what is unsent, and this."""
        data = self._unsent + frame
        if data:
            self._unsent = b""
            self._sock.sendall(data)


def main(number: int, sock: socket.socket, settings: Settings, versions: Versions) -> NoReturn:
    """What a forked process does; never returns."""
    code = 0
    try:
        prepare()
        Runner(number, sock, settings).serve(versions)
    except OSError as error:
        code = EXIT_DISCONNECTED
        _last_words(f"the runner lost its connection or its files: {error}")
    except BaseException as error:
        code = EXIT_DISCONNECTED
        _last_words(f"the runner failed: {type(error).__name__}: {error}")
    os._exit(code)


def prepare() -> None:
    """Settles a fresh runner process, before any task."""
    system.adopt_orphans()
    system.set_name("cov-runner")
    system.prefer_for_oom_killer()
    for number, handler in _HANDLERS.items():
        signal.signal(number, handler)
    sys.argv = [""]
    _seed_numpy()
    faulthandler.enable(file=2)


def _seed_numpy() -> None:
    # All forks would draw the same numbers; Python's own generator sees to itself.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def _last_words(text: str) -> None:
    try:
        os.write(2, (text + "\n").encode("utf-8", "backslashreplace"))
    except OSError:
        pass
