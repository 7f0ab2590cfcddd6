"""Frames between server, zygote and runners: a length (u32), then the message.

The message is what the server's encoder writes: little-endian, integers of fixed width, lengths as
u64, enum variants as u32, options as one byte. This module must stay in step with `cov-core`'s
`frames` module; the version is exchanged in the first message.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from typing import List, NamedTuple, Optional, Tuple, Union

VERSION = 2
FRAME_BYTES_MAX = 256 * 1024 * 1024
_READ_BYTES = 64 * 1024

U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
VARIANT_U64 = struct.Struct("<IQ")
_VARIANT_U64_VARIANT = struct.Struct("<IQI")


class File(NamedTuple):
    """A payload that stands in a file."""

    path: str


Blob = Union[bytes, memoryview, File]


class WorkDir(NamedTuple):
    """Where a task runs."""

    path: str
    unique: bool


class Task(NamedTuple):
    """One attempt to run one electron."""

    attempt: int
    dispatch: str
    node: int
    function: Blob
    hooks: Optional[Blob]
    run_callables: bool
    args: List[Tuple[int, Blob]]
    kwargs: List[Tuple[str, int, Blob]]
    work_dir: Optional[WorkDir]


class Fork(NamedTuple):
    """The server wants a runner."""

    runner: int


class Kill(NamedTuple):
    """The server wants a runner and all that it started ended."""

    runner: int
    grace: float


class Reader:
    """Takes values from the front of a message."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._at = 0

    def u8(self) -> int:
        """One byte."""
        value = self._body[self._at]
        self._at += 1
        return value

    def u32(self) -> int:
        """Four bytes."""
        value: int = U32.unpack_from(self._body, self._at)[0]
        self._at += 4
        return value

    def u64(self) -> int:
        """Eight bytes."""
        value: int = _U64.unpack_from(self._body, self._at)[0]
        self._at += 8
        return value

    def view(self) -> memoryview:
        """Bytes with their length before them."""
        return self._take(self.u64())

    def _take(self, length: int) -> memoryview:
        start = self._at
        end = start + length
        if end > len(self._body):
            raise ValueError("a frame ends in the middle of a value")
        self._at = end
        return self._body[start:end]

    def text(self) -> str:
        """UTF-8 text."""
        return str(self.view(), "utf-8")

    def path(self) -> str:
        """A path, in the form that `os` functions take back to the same bytes."""
        return os.fsdecode(bytes(self.view()))

    def blob(self) -> Blob:
        """A payload."""
        is_file, length = VARIANT_U64.unpack_from(self._body, self._at)
        self._at += VARIANT_U64.size
        content = self._take(length)
        return File(os.fsdecode(bytes(content))) if is_file else content


def read_tasks(body: memoryview) -> List[Task]:
    """The tasks of a `Run` message."""
    reader = Reader(body)
    variant = reader.u32()
    if variant != 0:
        raise ValueError(f"unknown message {variant}")
    return [read_task(reader) for _ in range(reader.u64())]


def read_task(reader: Reader) -> Task:
    """One task."""
    return Task(
        attempt=reader.u64(),
        dispatch=reader.text(),
        node=reader.u32(),
        function=reader.blob(),
        hooks=reader.blob() if reader.u8() else None,
        run_callables=bool(reader.u8()),
        args=[(reader.u32(), reader.blob()) for _ in range(reader.u64())],
        kwargs=[(reader.text(), reader.u32(), reader.blob()) for _ in range(reader.u64())],
        work_dir=WorkDir(reader.path(), bool(reader.u8())) if reader.u8() else None,
    )


def read_request(body: memoryview) -> Union[Fork, Kill]:
    """What the server asks of the zygote."""
    reader = Reader(body)
    variant = reader.u32()
    if variant == 0:
        return Fork(reader.u64())
    if variant == 1:
        return Kill(reader.u64(), reader.u64() / 1000.0)
    raise ValueError(f"unknown message {variant}")


def packed_bytes(data: Union[bytes, memoryview]) -> bytes:
    """Bytes with their length before them."""
    return _U64.pack(len(data)) + data


def packed_text(text: str) -> bytes:
    """UTF-8 text."""
    return packed_bytes(text.encode("utf-8", "backslashreplace"))


def packed_blob(blob: Blob) -> bytes:
    """A payload."""
    if isinstance(blob, File):
        path = os.fsencode(blob.path)
        return VARIANT_U64.pack(1, len(path)) + path
    return VARIANT_U64.pack(0, len(blob)) + blob


def framed(body: bytes) -> bytes:
    """A message with its length before it."""
    return U32.pack(len(body)) + body


def hello(pid: int, python: str, cloudpickle: str, covalent: str) -> bytes:
    """The first message of a runner, and of the zygote: who speaks, and what it holds."""
    versions = packed_text(python) + packed_text(cloudpickle) + packed_text(covalent)
    return framed(U32.pack(0) + U32.pack(VERSION) + U32.pack(pid) + versions)


def begun(attempt: int) -> bytes:
    """The task's code is about to run."""
    return framed(VARIANT_U64.pack(1, attempt))


def completed(attempt: int, output: Blob, stdout: Blob, stderr: Blob) -> bytes:
    """The task returned."""
    head = _VARIANT_U64_VARIANT.pack(2, attempt, 0)
    return framed(head + packed_blob(output) + packed_blob(stdout) + packed_blob(stderr))


def failed(attempt: int, message: str, stdout: Blob, stderr: Blob) -> bytes:
    """The task failed."""
    head = VARIANT_U64.pack(2, attempt) + U32.pack(1)
    return framed(head + packed_text(message) + packed_blob(stdout) + packed_blob(stderr))


def not_stored(attempt: int, message: str, stdout: Blob, stderr: Blob) -> bytes:
    """The task returned, and its output could not be written."""
    head = VARIANT_U64.pack(2, attempt) + U32.pack(2)
    return framed(head + packed_text(message) + packed_blob(stdout) + packed_blob(stderr))


def forked(runner: int, pid: int) -> bytes:
    """The zygote made a runner."""
    return framed(VARIANT_U64.pack(1, runner) + U32.pack(pid))


def exited(runner: int, by_signal: bool, status: int) -> bytes:
    """A runner and all that it started are gone."""
    return framed(VARIANT_U64.pack(2, runner) + U32.pack(int(by_signal)) + U32.pack(status))


def fork_failed(runner: int, message: str) -> bytes:
    """The system made no process."""
    return framed(VARIANT_U64.pack(3, runner) + packed_text(message))


def take_queue(sock: socket.socket) -> socket.socket:
    """The queue of tasks, which the server attaches to the first byte of a connection."""
    numbers = array.array("i")
    space = socket.CMSG_SPACE(numbers.itemsize)
    _, ancillary, _, _ = sock.recvmsg(1, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(payload[: numbers.itemsize])
    if not numbers:
        raise OSError("the server attached no queue of tasks")
    return socket.socket(fileno=numbers[0])


class Connection:
    """Whole frames from a blocking socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def receive_now(self) -> Optional[memoryview]:
        """The next message, if one is there."""
        if not self._buffer:
            try:
                self._buffer = self.sock.recv(_READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass
        return self.receive() if self._buffer else None

    def receive(self) -> Optional[memoryview]:
        """The next message; `None` when the other side is gone."""
        while len(self._buffer) < 4:
            if not self._read():
                return None
        length = U32.unpack_from(self._buffer)[0]
        if length > FRAME_BYTES_MAX:
            raise ValueError(f"a frame of {length} bytes is over the limit")
        end = 4 + length
        if len(self._buffer) == end:
            frame, self._buffer = self._buffer, b""
            return memoryview(frame)[4:]
        if len(self._buffer) > end:
            frame, self._buffer = self._buffer[:end], self._buffer[end:]
            return memoryview(frame)[4:]
        return self._receive_long(end)

    def _read(self) -> bool:
        data = self.sock.recv(_READ_BYTES)
        self._buffer = self._buffer + data if self._buffer else data
        return bool(data)

    def _receive_long(self, end: int) -> Optional[memoryview]:
        frame = bytearray(end)
        filled = len(self._buffer)
        frame[:filled] = self._buffer
        self._buffer = b""
        view = memoryview(frame)
        while filled < end:
            count = self.sock.recv_into(view[filled:])
            if count == 0:
                return None
            filled += count
        return view[4:]
