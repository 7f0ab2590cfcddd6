"""Runs one task in a process that belongs to somebody else, and to other tasks at the same time: a
thread of a worker of Dask, say.

Needs no folder, no socket and no server. What a task prints from its own thread is caught; what its
child processes print is not. The working directory is the process's: tasks that run beside each
other in threads share it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import pickle
import sys
import threading
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from .frames import Task, WorkDir
from .task import failure, output_of

COMPLETED = 0
FAILED = 1

# What a task prints is held in memory, in the worker's and in the host's.
_PRINTED_CHARS_MAX = 16 * 1024 * 1024

_here = threading.local()
_patching = threading.Lock()


class Sent(NamedTuple):
    """A task on its way; of plain types only, so that any Python can unpickle it."""

    dispatch: str
    node: int
    function: bytes
    hooks: Optional[bytes]
    run_callables: bool
    args: List[Tuple[int, bytes]]
    kwargs: List[Tuple[str, int, bytes]]
    work_dir: Optional[Tuple[str, bool]]

    def task(self) -> Task:
        """As runners know it."""
        work_dir = None
        if self.work_dir is not None:
            path, unique = self.work_dir
            # Somebody's home, there.
            work_dir = WorkDir(os.path.expanduser(path), unique)
        return Task(
            attempt=0,
            dispatch=self.dispatch,
            node=self.node,
            function=self.function,
            hooks=self.hooks,
            run_callables=self.run_callables,
            args=list(self.args),
            kwargs=list(self.kwargs),
            work_dir=work_dir,
        )


def run(sent: Tuple[Any, ...]) -> Tuple[int, Any, str, str]:
    """Runs a task: how it ended, its output's archive or a traceback, and what it printed."""
    task = Sent(*sent).task()
    with _caught() as (out, err), _in_context(task), _folder_kept(task):
        try:
            output = b"".join(output_of(task).pieces())
        except BaseException as error:
            told = failure(error)
            print(told.text, file=sys.stderr)
            return FAILED, told.message(), out.getvalue(), err.getvalue()
    return COMPLETED, output, out.getvalue(), err.getvalue()


class _Printed(io.StringIO):
    """What one task prints, up to a limit."""

    def write(self, text: str) -> int:
        """Writes what fits."""
        room = _PRINTED_CHARS_MAX - self.tell()
        if room > 0:
            super().write(text[:room])
        return len(text)


class _Switch(io.TextIOBase):
    """A stream of the process: what a task prints is caught, all else goes where it went before."""

    def __init__(self, name: str, below: Any) -> None:
        self._name = name
        self._below = below

    def _stream(self) -> Any:
        return getattr(_here, self._name, None) or self._below

    def write(self, text: str) -> int:
        """Writes."""
        return self._stream().write(text)  # type: ignore[no-any-return]

    def flush(self) -> None:
        """Writes out."""
        self._stream().flush()

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The process's own."""
        return self._below.fileno()  # type: ignore[no-any-return]

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As before."""
        return getattr(self._below, "encoding", None) or "utf-8"


@contextlib.contextmanager
def _caught() -> Iterator[Tuple[_Printed, _Printed]]:
    streams: Any = sys
    with _patching:
        if not isinstance(streams.stdout, _Switch):
            streams.stdout = _Switch("stdout", streams.stdout)
        if not isinstance(streams.stderr, _Switch):
            streams.stderr = _Switch("stderr", streams.stderr)
    out, err = _Printed(), _Printed()
    _here.stdout, _here.stderr = out, err
    try:
        yield out, err
    finally:
        _here.stdout = _here.stderr = None


@contextlib.contextmanager
def _in_context(task: Task) -> Iterator[None]:
    """What `covalent.get_context()` tells, in this thread alone."""
    _patch_context()
    _here.dispatch_id, _here.task_id = task.dispatch, task.node
    try:
        yield
    finally:
        _here.dispatch_id = _here.task_id = None


def _patch_context() -> None:
    with _patching:
        if getattr(_here, "has_covalent", None) is None:
            _here.has_covalent = importlib.util.find_spec("covalent") is not None
        if not _here.has_covalent:
            return
        module: Any = importlib.import_module("covalent.executor.utils.context")
        if getattr(module.current_context, "is_of_thread", False):
            return

        class OfThread(module.Context):  # type: ignore[misc]
            """Tells each thread what it runs."""

            def __getattribute__(self, name: str) -> Any:
                if name in ("dispatch_id", "task_id"):
                    return getattr(_here, name, None)
                return name == "is_of_thread" or super().__getattribute__(name)

        module.current_context = OfThread()


@contextlib.contextmanager
def _folder_kept(task: Task) -> Iterator[None]:
    if task.work_dir is None:
        yield
        return
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


def run_pickled(payload: bytes) -> Tuple[int, Any, str, str]:
    """As `run`, of a pickled task. Must stay the last name here: it tells that the rest is there."""
    return run(pickle.loads(payload))
