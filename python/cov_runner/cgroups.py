"""A cgroup for each runner, where the system lets this user make some (version 2 of cgroups only).

All that is in a cgroup is killed by one write, together with what is born in that moment, and a
process stays in it whatever it forks and however it leaves its session. Where there are none
everything here does nothing, and the processes are looked for instead: whether something is left is
decided by that look in either case.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from typing import Iterator, NamedTuple, Optional, Tuple

_PREFIX = "cov-"
_STALE_SECONDS_MAX = 1.0


class Place(NamedTuple):
    """A cgroup: its folder, and its name in /proc/PID/cgroup."""

    folder: str
    name: str

    def below(self, part: str) -> Place:
        """A cgroup inside of this one."""
        return Place(os.path.join(self.folder, part), f"{self.name.rstrip('/')}/{part}")


class Cgroups:
    """The cgroups of one zygote's runners; all without effect where there are none."""

    def __init__(self, place: Optional[Place]) -> None:
        self._place = place

    def folder(self) -> Optional[str]:
        """Where they are made, if they are."""
        return None if self._place is None else self._place.folder

    def add(self, number: int) -> None:
        """Makes the cgroup of a runner."""
        if self._place is not None:
            with contextlib.suppress(OSError):
                os.mkdir(self._runner(self._place, number).folder)

    def enter(self, number: int) -> None:
        """Takes the calling process into a runner's cgroup."""
        if self._place is not None:
            # It may be forbidden although making it was not. The look at processes does without.
            with contextlib.suppress(OSError):
                _write(self._runner(self._place, number), "cgroup.procs", "0")

    def kill(self, number: int) -> None:
        """Kills all that a runner started and, if it is there, the runner."""
        if self._place is not None:
            with contextlib.suppress(OSError):
                _write(self._runner(self._place, number), "cgroup.kill", "1")

    def kill_all(self) -> None:
        """Kills all runners and all that they started."""
        if self._place is not None:
            with contextlib.suppress(OSError):
                _write(self._place, "cgroup.kill", "1")

    def remove(self, number: int) -> None:
        """Removes the cgroup of a runner that is gone with all that it started."""
        if self._place is not None:
            _remove(self._runner(self._place, number).folder)

    def remove_all(self) -> None:
        """Removes everything, when all processes are gone."""
        if self._place is not None:
            _remove(self._place.folder)

    def owner(self, pid: int) -> Optional[int]:
        """The runner that started a process, if that can be told. Also of one that has ended."""
        if self._place is None:
            return None
        name = _name_of(f"/proc/{pid}/cgroup")
        prefix = f"{self._place.name}/runner-"
        if name is None or not name.startswith(prefix):
            return None
        digits = re.match(r"\d+", name[len(prefix) :])
        return None if digits is None else int(digits.group())

    @staticmethod
    def _runner(place: Place, number: int) -> Place:
        return place.below(f"runner-{number}")


def create() -> Cgroups:
    """Makes a cgroup to hold those of runners, named after this process, and keeps it locked.

    The lock is held by a descriptor that stays open for as long as this process lives. Those
    whose owner was killed, and what lives in them, are ended here.
    """
    own = _own()
    if own is None:
        return Cgroups(None)
    _clear_stale(own)
    place = own.below(f"{_PREFIX}{os.getpid()}")
    try:
        os.mkdir(place.folder)
    except OSError:
        return Cgroups(None)
    if not os.access(os.path.join(place.folder, "cgroup.kill"), os.W_OK):
        # A kernel before 5.14.
        _remove(place.folder)
        return Cgroups(None)
    return Cgroups(place)


def lock(cgroups: Cgroups) -> None:
    """Shows others that this process, which made them, lives. Not undone before it ends."""
    folder = cgroups.folder()
    if folder is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(os.open(folder, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH)


def made_by(pid: int) -> Cgroups:
    """What `create` made in another process."""
    own = _own()
    place = None if own is None else own.below(f"{_PREFIX}{pid}")
    return Cgroups(place if place is not None and os.path.isdir(place.folder) else None)


def _own() -> Optional[Place]:
    """The cgroup of this process, if it can be seen in the file system."""
    name = _name_of("/proc/self/cgroup")
    if name is None or name.startswith("/.."):
        return None
    for root, mounted_at in _mounts():
        if name == root or name.startswith(root.rstrip("/") + "/"):
            folder = os.path.normpath(f"{mounted_at}/{name[len(root.rstrip('/')) :]}")
            return Place(folder, name)
    return None


def _mounts() -> Iterator[Tuple[str, str]]:
    """Where cgroups of version 2 are mounted: the cgroup at the top, and the folder."""
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            fields = before.split(" ")
            if after.startswith("cgroup2 ") and "\\" not in before:
                yield fields[3], fields[4]


def _name_of(path: str) -> Optional[str]:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("0::"):
                return line[3:].rstrip("\n")
    return None


def _write(place: Place, name: str, text: str) -> None:
    with open(os.path.join(place.folder, name), "w", encoding="ascii") as file:
        file.write(text)


def _remove(folder: str) -> None:
    """Removes a cgroup and those that a task made in it, as far as they are empty."""
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _clear_stale(own: Place) -> None:
    with contextlib.suppress(OSError):
        for entry in os.listdir(own.folder):
            pid = entry[len(_PREFIX) :]
            if entry.startswith(_PREFIX) and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                _end_stale(own.below(entry))


def _end_stale(place: Place) -> None:
    """Ends what is left in a cgroup whose owner was killed. Another's process ids may mean others
    than ours: that nobody holds the lock is what counts."""
    fd = os.open(place.folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    finally:
        os.close(fd)
    _write(place, "cgroup.kill", "1")
    until = time.monotonic() + _STALE_SECONDS_MAX
    while os.path.isdir(place.folder) and time.monotonic() < until:
        _remove(place.folder)
        time.sleep(0.002)
