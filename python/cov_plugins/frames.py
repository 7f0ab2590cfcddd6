"""Frames between the server and the host of executor plugins.

The bytes are those of `cov_runner.frames`. This module must stay in step with `cov-core`'s
`frames::host` module.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Dict, List, NamedTuple, Optional, Union

from cov_runner.frames import (
    U32,
    VARIANT_U64,
    Blob,
    Reader,
    Task,
    framed,
    packed_blob,
    packed_bytes,
    packed_text,
    read_task,
)


class Python(NamedTuple):
    """A function of Python."""


class Program(NamedTuple):
    """An electron of a program that brings its own."""

    digest: str
    # Where a worker elsewhere can fetch it; nothing if nowhere.
    address: Optional[str]
    memory_bytes_max: Optional[int]


class Command(NamedTuple):
    """A command of its own."""


Work = Union[Python, Program, Command]


class Engine(NamedTuple):
    """An executor by its name, and what the client said to it."""

    name: str
    data: Dict[str, Any]


class Run(NamedTuple):
    """The server wants a task run."""

    engine: Engine
    work: Work
    task: Task


class Attach(NamedTuple):
    """The server wants to know what becomes of a job that an earlier host submitted."""

    attempt: int
    dispatch: str
    node: int
    engine: Engine
    job: str


class Kill(NamedTuple):
    """The server wants an attempt ended."""

    attempt: int
    grace: float


class Show(NamedTuple):
    """The server wants to see what an attempt has printed so far."""

    attempt: int


class Find(NamedTuple):
    """The server wants to know which executors there are."""


Order = Union[Run, Attach, Kill, Show, Find]


def read_order(body: memoryview) -> Order:
    """What the server asks of the host."""
    reader = Reader(body)
    variant = reader.u32()
    if variant == 0:
        return Run(_engine(reader), _work(reader), read_task(reader))
    if variant == 1:
        return Attach(reader.u64(), reader.text(), reader.u32(), _engine(reader), reader.text())
    if variant == 2:
        return Kill(reader.u64(), reader.u64() / 1000.0)
    if variant == 3:
        return Show(reader.u64())
    if variant == 4:
        return Find()
    raise ValueError(f"unknown message {variant}")


def _engine(reader: Reader) -> Engine:
    name = reader.text()
    data = json.loads(reader.text())
    return Engine(name, data if isinstance(data, dict) else {})


def _work(reader: Reader) -> Work:
    variant = reader.u32()
    if variant == 0:
        return Python()
    if variant == 1:
        digest = reader.text()
        address = reader.text() if reader.u8() else None
        return Program(digest, address, reader.u64() if reader.u8() else None)
    if variant == 2:
        return Command()
    raise ValueError(f"unknown kind of work {variant}")


class Found(NamedTuple):
    """An executor that there is."""

    name: str
    managed: bool
    # The module or file that it comes from.
    origin: str
    # Why it cannot be used; nothing if it can.
    fault: Optional[str]


def found(executors: List[Found]) -> bytes:
    """Which executors there are."""
    body = struct.pack("<IQ", 1, len(executors))
    for executor in executors:
        body += packed_text(executor.name) + bytes([executor.managed])
        body += packed_text(executor.origin) + _optional_text(executor.fault)
    return framed(body)


def _optional_text(text: Optional[str]) -> bytes:
    return b"\0" if text is None else b"\1" + packed_text(text)


def begun(attempt: int) -> bytes:
    """The task is handed to its executor."""
    return framed(VARIANT_U64.pack(2, attempt))


def accepted(attempt: int, job: str) -> bytes:
    """The executor runs the attempt as this job."""
    return framed(VARIANT_U64.pack(3, attempt) + packed_text(job))


class Completed(NamedTuple):
    """The task returned: the archive of what it returned."""

    output: Blob

    def packed(self) -> bytes:
        """Its bytes."""
        return U32.pack(0) + packed_blob(self.output)


class Failed(NamedTuple):
    """The task failed."""

    message: str

    def packed(self) -> bytes:
        """Its bytes."""
        return U32.pack(1) + packed_text(self.message)


class NotStored(NamedTuple):
    """The task returned, and its output could not be written."""

    message: str

    def packed(self) -> bytes:
        """Its bytes."""
        return U32.pack(2) + packed_text(self.message)


class Refused(NamedTuple):
    """The executor did not do its work."""

    message: str

    def packed(self) -> bytes:
        """Its bytes."""
        return U32.pack(3) + packed_text(self.message)


class Killed(NamedTuple):
    """The attempt was ended, as the server wanted."""

    def packed(self) -> bytes:
        """Its bytes."""
        return U32.pack(4)


class Unknown(NamedTuple):
    """There is no such executor: the names of those that there are."""

    names: List[str]

    def packed(self) -> bytes:
        """Its bytes."""
        names = b"".join(packed_text(name) for name in self.names)
        return U32.pack(5) + struct.pack("<Q", len(self.names)) + names


class Died(NamedTuple):
    """The process that ran the task, elsewhere, died or could not run it."""

    message: str

    def packed(self) -> bytes:
        """Its bytes."""
        return U32.pack(6) + packed_text(self.message)


Outcome = Union[Completed, Failed, NotStored, Refused, Killed, Unknown, Died]


def ended(attempt: int, outcome: Outcome, stdout: Blob, stderr: Blob) -> bytes:
    """The attempt ended."""
    head = VARIANT_U64.pack(4, attempt)
    return framed(head + outcome.packed() + packed_blob(stdout) + packed_blob(stderr))


def lost(attempt: int, message: str) -> bytes:
    """Nobody knows what became of the attempt."""
    return framed(VARIANT_U64.pack(5, attempt) + packed_text(message))


def shown(attempt: int, stdout: bytes, stderr: bytes) -> bytes:
    """What the attempt has printed so far."""
    return framed(VARIANT_U64.pack(6, attempt) + packed_bytes(stdout) + packed_bytes(stderr))
