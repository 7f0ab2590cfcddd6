"""Starts a process under a guard, in a scratch folder; ends it when nobody wants it any more."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence

from . import bundle, fetch, sources

# How often a task that runs is asked after.
LOOK_S = 0.25


class Launch(NamedTuple):
    """A program to start."""

    program: str
    arguments: List[str]
    # All that it has in its environment.
    variables: Dict[str, str]
    folder: Optional[str]
    memory_bytes_max: Optional[int]
    # Seconds between SIGTERM and SIGKILL.
    grace: float


class Ended(NamedTuple):
    """How a process ended; neither is known when its guard was killed."""

    code: Optional[int]
    signal: Optional[int]


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """A folder that only this user can look into, gone when the task has ended."""
    folder = tempfile.mkdtemp(prefix="cov-task-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def whether_unwanted() -> Callable[[], bool]:
    """Tells, when it is called, whether the engine has given up the task of this thread.

    Most engines end a task by ending the worker's process, and the guard sees that. Dask cannot
    end a thread: its worker only notes that nobody wants the result.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return lambda: False
    try:
        worker = distributed.get_worker()
        key = worker.get_current_task()
        tasks = worker.state.tasks
    except Exception:
        # It is no worker of Dask that has imported it.
        return lambda: False

    def is_unwanted() -> bool:
        task = tasks.get(key)
        return task is None or task.state == "cancelled"

    return is_unwanted


class Process:
    """A process under its guard. To be used in a `with`: at its end all of it is gone."""

    def __init__(self, launch: Launch, streams: Sequence[Any], folder: str) -> None:
        path = os.path.join(folder, "launch.json")
        with open(path, "w", encoding="ascii") as file:
            json.dump(launch._asdict(), file)
        ours, theirs = os.pipe(), os.pipe()
        control, self._control = ours
        self._status, status = theirs
        words = [sys.executable or "python3", "-I", "-S", "-B", _guard(), path]
        try:
            self._guard = subprocess.Popen(
                words + [str(control), str(status)],
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                pass_fds=(control, status),
                start_new_session=True,
                cwd=folder,
            )
        except BaseException:
            os.close(self._control)
            os.close(self._status)
            raise
        finally:
            os.close(control)
            os.close(status)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        os.close(self._status)

    def wait(self, is_unwanted: Callable[[], bool]) -> bool:
        """Waits until it has ended, with all that it started. False: nobody wants it any more."""
        while not select.select([self._status], [], [], LOOK_S)[0]:
            if is_unwanted():
                return False
        return True

    def end(self) -> Ended:
        """Has all of it ended, if it has not, and tells how the process itself ended."""
        if self._control >= 0:
            os.close(self._control)
            self._control = -1
            told = b""
            while True:
                piece = os.read(self._status, 4096)
                if not piece:
                    break
                told += piece
            self._guard.wait()
            how = json.loads(told) if told else {}
            self._ended = Ended(how.get("code"), how.get("signal"))
        return self._ended

    def ended(self) -> Ended:
        """How it ended, after a `wait` that said that it has."""
        return self.end()


def _guard() -> str:
    """The path of the guard, which is laid down once per worker."""
    texts = sources(bundle())
    files = {"guard.py": texts["guard"]}
    files.update({f"{name}.py": texts[f"runner/{name}"] for name in ("processes", "system")})
    return os.path.join(fetch.laid_down("guard", files), "guard.py")


_SIGNALS = {number.value: number.name for number in signal.Signals}


def how_it_ended(ended: Ended, what: str) -> str:
    """A sentence about a process that ended when it should not have."""
    if ended.signal == signal.SIGKILL:
        return (
            f"{what} was ended by SIGKILL (signal 9). If nobody sent it, the worker was out of "
            "memory: the system's out-of-memory killer ends processes this way."
        )
    if ended.signal is not None:
        name = _SIGNALS.get(ended.signal)
        named = f"{name} (signal {ended.signal})" if name else f"signal {ended.signal}"
        return f"{what} was ended by {named}."
    if ended.code is not None:
        return f"{what} exited with code {ended.code}."
    return f"{what} was ended, because the process that watches it died."


def read_file(path: str) -> bytes:
    """A file's content; nothing if it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def tail(data: bytes, bytes_max: int) -> str:
    """The end of what was printed, from the beginning of a line."""
    text = data[-bytes_max:].decode("utf-8", "replace")
    if len(data) > bytes_max and "\n" in text:
        text = text.split("\n", 1)[1]
    return text
