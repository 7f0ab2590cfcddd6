"""What Python's standard library has no function for: prctl, and the like."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: object) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent is gone, also if it is gone already."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(0)


def adopt_orphans() -> None:
    """Makes orphaned descendants children of this process, whatever session they went to."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_name(name: str) -> None:
    """The name that process lists show; up to 15 bytes count."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode("ascii")))


def flush_c_streams() -> None:
    """Writes out the buffers of the C library."""
    _libc.fflush(None)


def prefer_for_oom_killer() -> None:
    """When memory runs out, a runner goes before the server does."""
    try:
        with open("/proc/self/oom_score_adj", "r+") as file:
            if int(file.read()) < 500:
                file.write("500")
    except (OSError, ValueError):
        pass


def has_children() -> bool:
    """Whether this process has any child, running or not yet waited for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def thread_count() -> int:
    """Threads of this process, also those that Python does not know of."""
    return len(os.listdir("/proc/self/task"))
