"""Frames between this worker and a program that is a runner, from the server's side.

The layout is that of the server's own frames; `cov_runner/frames.py` has the runner's side.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

VERSION = 2
REPORT_BYTES_MAX = 8 * 1024 * 1024
_READ_BYTES = 256 * 1024

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class File(NamedTuple):
    """A payload that stands in a file."""

    path: bytes


Blob = Union[bytes, File]


class Hello(NamedTuple):
    """The runner is there."""

    version: int


class Begun(NamedTuple):
    """The electron's code runs."""

    attempt: int


class Ended(NamedTuple):
    """The electron has ended: with an output, or with a message."""

    attempt: int
    output: Optional[Blob]
    message: str
    stdout: Blob
    stderr: Blob


Report = Union[Hello, Begun, Ended]


def _bytes(data: bytes) -> bytes:
    return _U64.pack(len(data)) + data


def _blob(blob: Blob) -> bytes:
    if isinstance(blob, File):
        return _U32.pack(1) + _bytes(blob.path)
    return _U32.pack(0) + _bytes(blob)


def run(task: Dict[str, Any]) -> bytes:
    """The frame that has a runner run one task; payloads in it are blobs."""
    parts: List[bytes] = [_U32.pack(0), _U64.pack(1)]
    parts += [_U64.pack(task["attempt"]), _bytes(task["dispatch"].encode("utf-8"))]
    parts += [_U32.pack(task["node"]), _blob(task["function"])]
    hooks = task["hooks"]
    parts.append(b"\0" if hooks is None else b"\1" + _blob(hooks))
    parts.append(bytes([bool(task["run_callables"])]))
    parts.append(_U64.pack(len(task["args"])))
    parts += [_U32.pack(node) + _blob(value) for node, value in task["args"]]
    parts.append(_U64.pack(len(task["kwargs"])))
    parts += [
        _bytes(name.encode("utf-8")) + _U32.pack(node) + _blob(value)
        for name, node, value in task["kwargs"]
    ]
    if task["work_dir"] is None:
        parts.append(b"\0")
    else:
        path, is_unique = task["work_dir"]
        parts.append(b"\1" + _bytes(path.encode("utf-8", "surrogateescape")))
        parts.append(bytes([bool(is_unique)]))
    body = b"".join(parts)
    return _U32.pack(len(body)) + body


class Reader:
    """Takes values from the front of a message."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._body):
            raise ValueError("a frame ends in the middle of a value")
        piece = self._body[self._at : end]
        self._at = end
        return piece

    def u32(self) -> int:
        """Four bytes."""
        return int(_U32.unpack(self._take(4))[0])

    def u64(self) -> int:
        """Eight bytes."""
        return int(_U64.unpack(self._take(8))[0])

    def bytes(self) -> bytes:
        """Bytes with their length before them."""
        return self._take(self.u64())

    def blob(self) -> Blob:
        """A payload."""
        return File(self.bytes()) if self.u32() else self.bytes()


def report(body: bytes) -> Report:
    """What a runner says."""
    reader = Reader(body)
    kind = reader.u32()
    if kind == 0:
        return Hello(reader.u32())
    attempt = reader.u64()
    if kind == 1:
        return Begun(attempt)
    if kind != 2:
        raise ValueError(f"a runner sent the unknown message {kind}")
    output: Optional[Blob] = None
    message = ""
    if reader.u32() == 0:
        output = reader.blob()
    else:
        message = reader.bytes().decode("utf-8", "replace")
    return Ended(attempt, output, message, reader.blob(), reader.blob())


class Connection:
    """The worker's end of the connection with a runner."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""

    def receive(self, seconds: float) -> Tuple[bool, Optional[Report]]:
        """Waits for a message, at most so long: whether the runner is there, and the message."""
        self._sock.settimeout(seconds)
        while True:
            body = self._whole()
            if body is not None:
                return True, report(body)
            try:
                piece = self._sock.recv(_READ_BYTES)
            except socket.timeout:
                return True, None
            except ConnectionError:
                return False, None
            if not piece:
                return False, None
            self._buffer += piece

    def _whole(self) -> Optional[bytes]:
        if len(self._buffer) < 4:
            return None
        length = _U32.unpack_from(self._buffer)[0]
        if length > REPORT_BYTES_MAX:
            raise ValueError(f"a frame of {length} bytes is over the limit")
        if len(self._buffer) < 4 + length:
            return None
        body, self._buffer = self._buffer[4 : 4 + length], self._buffer[4 + length :]
        return body
