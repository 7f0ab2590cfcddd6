"""What a task prints, caught at the file descriptor, so that its child processes are caught too.

Each stream of a runner goes to a file that is appended to, and read by the server while the task
runs. A task that prints nothing leaves nothing to do.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from typing import Any, Tuple

from . import system
from .frames import Blob, File
from .space import when_there_is_space

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC


class PatientFile(io.FileIO):
    """What `print` writes to. A full disk makes it wait, as a full pipe would."""

    def write(self, data: Any) -> Any:
        """Writes what fits."""
        return when_there_is_space(lambda: io.FileIO.write(self, data))


class Stream:
    """One captured stream."""

    def __init__(self, number: int, path: str) -> None:
        self.number = number
        self.path = path
        self._file = self._open()
        os.dup2(self._file, number)
        self.text = self._writer()

    def _open(self) -> int:
        return when_there_is_space(lambda: os.open(self.path, _FLAGS, 0o600))

    def _writer(self) -> io.TextIOWrapper:
        raw = PatientFile(self.number, "w", closefd=False)
        buffered = io.BufferedWriter(raw)
        return io.TextIOWrapper(buffered, "utf-8", "backslashreplace", line_buffering=True)

    def restore(self) -> io.TextIOWrapper:
        """Undoes what a task did to the stream; returns what `print` shall write to."""
        os.dup2(self._file, self.number)
        if self.text.closed:
            self.text = self._writer()
        return self.text

    def take(self, spool_path: str, inline_bytes_max: int) -> Blob:
        """What was printed since the last call. Much of it is moved to `spool_path`."""
        size = os.fstat(self._file).st_size
        if size == 0:
            return b""
        if size <= inline_bytes_max:
            data = os.pread(self._file, size, 0)
            os.ftruncate(self._file, 0)
            return data
        try:
            os.rename(self.path, spool_path)
        except OSError:
            when_there_is_space(lambda: shutil.copyfile(self.path, spool_path))
        self.replace()
        return File(spool_path)

    def replace(self) -> None:
        """Begins a new file; processes that a task left behind keep writing to the old one."""
        os.close(self._file)
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        self._file = self._open()
        os.dup2(self._file, self.number)


class Capture:
    """Both streams of a runner."""

    def __init__(self, base: str, inline_bytes_max: int) -> None:
        self._inline_bytes_max = inline_bytes_max
        self._out = Stream(1, base + ".out")
        self._err = Stream(2, base + ".err")
        self.restore()

    def restore(self) -> None:
        """Sets `sys.stdout` and `sys.stderr`, whatever a task did to them."""
        streams: Any = sys
        streams.stdout = streams.__stdout__ = self._out.restore()
        streams.stderr = streams.__stderr__ = self._err.restore()

    def flush(self) -> None:
        """Writes out what is buffered, by Python and by C code."""
        for stream in (sys.stdout, sys.stderr, self._out.text, self._err.text):
            try:
                stream.flush()
            except Exception:
                # A task may have put anything here, or closed it.
                continue
        system.flush_c_streams()

    def take(self, spool_base: str) -> Tuple[Blob, Blob]:
        """What was printed to both streams since the last call."""
        out = self._out.take(spool_base + ".stdout", self._inline_bytes_max)
        err = self._err.take(spool_base + ".stderr", self._inline_bytes_max)
        if system.has_children():
            self._out.replace()
            self._err.replace()
        return out, err
