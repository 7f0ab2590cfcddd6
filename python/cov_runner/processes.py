"""Which processes there are and whose they are, read from /proc; and the end of whole families.

A process whose parent ends becomes a child of the nearest ancestor that adopts orphans (see
`system.adopt_orphans`). So of everything that was started below such an ancestor, as long as any
of it is left, there is one that is its own child, and stays in the process table until it waits
for it. A look that begins then and reads all of /proc must meet that one: a look that finds no
child proves that nothing is left. To find some and to have seen the end of each proves nothing.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Callable, Dict, Iterable, List, Optional, Set

_PAUSE_MAX_S = 0.02
# More than what stands before the parent: numbers, and a name of 64 bytes at most.
_STAT_BYTES_MAX = 512
_CHASES = 20
# How far up a family is followed from its newest process.
_DEPTH_MAX = 64


def parent_of(pid: int) -> Optional[int]:
    """The parent of a process; nothing if there is no such process, or it is not to be seen."""
    try:
        # Looks are long lists of these, and `open` takes twice the time.
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            stat = os.read(fd, _STAT_BYTES_MAX)
        finally:
            os.close(fd)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The name in parentheses may hold anything, so count from its end.
    return int(stat[stat.rindex(b")") + 1 :].split(None, 2)[1])


def parents() -> Dict[int, int]:
    """Every process with its parent, the newest first.

    What is there from the beginning of the call to its end is in the answer; what is born or ends
    meanwhile may be missing. Raises OSError when the table cannot be read in full.
    """
    # Not from /proc/PID/task/TID/children, which leaves out some while others end.
    table: Dict[int, int] = {}
    for pid in sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True):
        parent = parent_of(pid)
        if parent is not None:
            table[pid] = parent
    return table


def below(tops: Iterable[int], table: Dict[int, int]) -> Set[int]:
    """Everything that descends from these, by a table that `parents` made."""
    children: Dict[int, List[int]] = {}
    for pid, parent in table.items():
        children.setdefault(parent, []).append(pid)
    found: Set[int] = set()
    waiting = list(tops)
    while waiting:
        # The table is not of one moment; should it hold a circle, that ends here.
        new = children.pop(waiting.pop(), [])
        found.update(new)
        waiting.extend(new)
    return found


def branch_of(pid: int, top: int) -> Optional[int]:
    """Which child of `top` a process descends from, or is; nothing if it does not."""
    for _ in range(_DEPTH_MAX):
        parent = parent_of(pid)
        if parent == top:
            return pid
        if not parent:
            return None
        pid = parent
    return None


def chase(top: int, spared: Callable[[int], bool] = lambda branch: False) -> None:
    """Kills the newest process again and again, if it descends from `top`, by a child not spared.

    A process that starts the next and ends at once is dead before a look at all processes comes to
    it. The system tells the id that it gave out last: nothing is nearer to the one that lives.
    """
    for _ in range(_CHASES):
        with open("/proc/loadavg", "rb") as file:
            newest = int(file.read().split()[-1])
        branch = branch_of(newest, top)
        if branch is not None and not spared(branch):
            kill(newest)


def kill(pid: int) -> None:
    """SIGKILL for a process that may be gone, or be another user's."""
    send(pid, signal.SIGKILL)


def send(pid: int, number: int) -> None:
    """A signal for a process that may be gone, or be another user's."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def send_group(pid: int, number: int) -> None:
    """A signal for a process group that may be gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def reaped(pid: int) -> bool:
    """Waits for a child that has ended. False if it has not."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def end_all(seconds: float) -> bool:
    """Kills everything below this process, which must adopt orphans, and waits for it.

    False if something is left after that time: what waits for a device, or belongs to another
    user.
    """
    me = os.getpid()
    until = time.monotonic() + seconds
    pause = 0.0
    while True:
        try:
            for pid in below([me], parents()):
                kill(pid)
            chase(me)
        except OSError:
            # Too many files are open, say; they become fewer with every process that ends.
            pass
        if _reap_all():
            # The kernel itself says that there is no child.
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(pause)
        pause = min(_PAUSE_MAX_S, 2 * pause + 0.0005)


def _reap_all() -> bool:
    """Waits for all children that have ended; whether there is none left at all."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return True
    return False
