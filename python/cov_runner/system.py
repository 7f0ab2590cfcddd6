"""What Python's standard library has no function for: prctl, and the children of a process."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import List, Set

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


def children(pid: int) -> List[int]:
    """The children of a process; of all its threads."""
    found: List[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        for thread in threads:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found.extend(int(child) for child in file.read().split())
    except FileNotFoundError:
        return found if os.path.exists("/proc/self/task/%d/children" % os.getpid()) else _scan(pid)
    except (ProcessLookupError, PermissionError):
        return found
    return found


def _scan(pid: int) -> List[int]:
    """As `children`, for kernels that do not list them."""
    found: List[int] = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The name in parentheses may hold anything, so count from its end.
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(name))
    return found


def descendants(pid: int) -> Set[int]:
    """All processes below a process, at this moment."""
    found: Set[int] = set()
    waiting = children(pid)
    while waiting:
        child = waiting.pop()
        if child not in found:
            found.add(child)
            waiting.extend(children(child))
    return found


def signal_process(pid: int, number: int) -> None:
    """Signals a process that may be gone."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def signal_group(pid: int, number: int) -> None:
    """Signals a process group that may be gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass
