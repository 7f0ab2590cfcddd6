"""What the server hears of an attempt, and in which order. Runs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
from typing import Any, NamedTuple, Optional, Union

from cov_runner.frames import Blob, File
from cov_runner.space import check_space, when_there_is_space

from . import frames
from .frames import Engine
from .secrecy import Secrets

_MESSAGE_CHARS_MAX = 256 * 1024
_SHOWN_BYTES_MAX = 1024 * 1024


class Settings(NamedTuple):
    """What the host was started with."""

    # For the host alone.
    run_dir: str
    # Where outputs are left for the server.
    spool_dir: str
    dispatcher_url: str
    inline_bytes_max: int
    # How many threads the calls of one executor may take.
    threads: int
    # A folder with executors of one file each; empty if there is none.
    executor_dir: str


class Link:
    """The way to the server. Any thread may send."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()

    def send(self, frame: bytes) -> None:
        """Sends a frame. If the server is gone, whoever reads from it sees to the rest."""
        with self._lock:
            with contextlib.suppress(OSError):
                self._sock.sendall(frame)


class Ending(NamedTuple):
    """How an attempt ended, and what it printed."""

    outcome: frames.Outcome
    stdout: Union[str, bytes] = b""
    stderr: Union[str, bytes] = b""


class JobLost(Exception):
    """Nobody knows what became of a job: why."""


class Attempt:
    """One attempt, as long as the server waits for news of it. Belongs to one event loop."""

    def __init__(
        self, link: Link, settings: Settings, number: int, dispatch: str, node: int, engine: Engine
    ) -> None:
        self.number = number
        self.dispatch = dispatch
        self.node = node
        self.engine = engine
        self.secrets = Secrets(engine.data.get("attributes"))
        self.has_begun = False
        self.cancel_requested = False
        self.is_over = False
        self.job: Any = None
        self.running: Optional["asyncio.Task[None]"] = None
        self._link = link
        self._settings = settings
        self._job_text = ""

    def begin(self) -> None:
        """From here on the executor knows of the attempt."""
        self.has_begun = True
        self._link.send(frames.begun(self.number))

    def accept(self, job: Any) -> None:
        """The executor runs the attempt as this job, by which another host can find it."""
        text = json.dumps(job)
        if self.is_over or text == self._job_text:
            return
        self.job = job
        self._job_text = text
        self._link.send(frames.accepted(self.number, text))

    def end(self, ending: Ending) -> None:
        """The attempt ended."""
        if self.is_over:
            return
        self.is_over = True
        base = os.path.join(self._settings.spool_dir, f"attempt-{self.number:016x}")
        limit = self._settings.inline_bytes_max
        outcome = _stored(ending.outcome, base + ".output", limit)
        stdout = _kept(self._stream(ending.stdout), base + ".stdout", limit)
        stderr = _kept(self._stream(ending.stderr), base + ".stderr", limit)
        self._link.send(frames.ended(self.number, self._clean(outcome), stdout, stderr))

    def lose(self, message: str) -> None:
        """Nobody knows what became of the attempt."""
        if self.is_over:
            return
        self.is_over = True
        self._link.send(frames.lost(self.number, self.secrets.hide(_shortened(message))))

    def show(self, stdout: Union[str, bytes], stderr: Union[str, bytes]) -> None:
        """What the attempt has printed so far."""
        out, err = self._stream(stdout), self._stream(stderr)
        shown = frames.shown(self.number, out[:_SHOWN_BYTES_MAX], err[:_SHOWN_BYTES_MAX])
        self._link.send(shown)

    def _stream(self, text: Union[str, bytes]) -> bytes:
        if isinstance(text, str):
            text = text.encode("utf-8", "backslashreplace")
        return self.secrets.hide_bytes(text)

    def _clean(self, outcome: frames.Outcome) -> frames.Outcome:
        if isinstance(outcome, (frames.Failed, frames.NotStored, frames.Refused, frames.Died)):
            return outcome._replace(message=self.secrets.hide(_shortened(outcome.message)))
        return outcome


def _shortened(text: str) -> str:
    if len(text) <= _MESSAGE_CHARS_MAX:
        return text
    half = _MESSAGE_CHARS_MAX // 2
    return text[:half] + "\n[...]\n" + text[-half:]


def content(blob: Blob) -> bytes:
    """The bytes of a payload."""
    if isinstance(blob, File):
        with open(blob.path, "rb") as file:
            return file.read()
    return bytes(blob)


def _stored(outcome: frames.Outcome, path: str, inline_bytes_max: int) -> frames.Outcome:
    if not isinstance(outcome, frames.Completed):
        return outcome
    output = content(outcome.output)
    try:
        return frames.Completed(_store(output, path, inline_bytes_max))
    except OSError as error:
        return frames.NotStored(
            f"The task returned, but its output could not be written to the server's disk: {error}"
        )


def _kept(stream: bytes, path: str, inline_bytes_max: int) -> Blob:
    try:
        return _store(stream, path, inline_bytes_max)
    except OSError:
        # What was printed is worth less than the result.
        return stream[:inline_bytes_max]


def _store(data: bytes, path: str, inline_bytes_max: int) -> Blob:
    if len(data) <= inline_bytes_max:
        return data
    when_there_is_space(lambda: _write(data, path))
    return File(path)


def _write(data: bytes, path: str) -> None:
    check_space(os.path.dirname(path), len(data))
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError:
        # A part of it would keep the space that others wait for.
        if os.path.exists(path):
            os.unlink(path)
        raise
