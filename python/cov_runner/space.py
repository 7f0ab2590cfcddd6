"""Waits for space on a disk that is full. What a task made exists nowhere else, and the task must not
pay for the server's disk; every other fault of the disk is the caller's.
"""

from __future__ import annotations

import errno
import os
from time import sleep
from typing import Callable, TypeVar

T = TypeVar("T")

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


def check_space(folder: str, size: int) -> None:
    """Raises what a write of `size` bytes would meet, without using up what others could still have."""
    disk = os.statvfs(folder)
    if size > disk.f_blocks * disk.f_frsize:
        raise OSError(errno.EFBIG, f"{size} bytes are more than the whole disk", folder)
    if size > disk.f_bavail * disk.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)


def when_there_is_space(write: Callable[[], T]) -> T:
    """What `write` returns; it is called again for as long as it meets a full disk."""
    pause = _FIRST_PAUSE_S
    while True:
        try:
            return write()
        except OSError as error:
            if error.errno not in _FULL:
                raise
        sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)
