"""Marks the processes of a task, so that a test can look for what is left of them in the process table.

A process is marked by its name (which its forks inherit) and by a variable in its environment (which
the programs that it starts inherit). `mark` and `misbehave` run inside tasks and must need nothing but
the standard library.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path

VARIABLE = "TEST_TASK_TAG"


def new_tag() -> str:
    """A name that no other process has; the kernel keeps 15 characters of a process's name."""
    return f"tag{uuid.uuid4().hex[:12]}"


def mark(tag: str) -> None:
    """Marks the calling process, and through it whatever it will fork or start."""
    os.environ[VARIABLE] = tag
    for name in ("self", "thread-self"):
        with open(f"/proc/{name}/comm", "w") as comm:
            comm.write(tag)


def marked(tag: str) -> dict[int, str]:
    """Every process with this mark, dead ones that nobody has waited for included, with its state."""
    found = {}
    needle = tag.encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_bytes()
            state = stat.rpartition(b")")[2].split()[0].decode()
            if needle in stat or needle in (entry / "environ").read_bytes():
                found[int(entry.name)] = state
        except OSError:
            continue
    return found


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


def _fork_into(work) -> None:
    if os.fork() == 0:
        try:
            work()
        finally:
            os._exit(0)


def _daemon() -> None:
    os.setsid()
    _ignore_signals()
    _fork_into(lambda: time.sleep(3600))


def _relay(own_session: bool) -> None:
    """Each process lives for a moment and leaves a successor, which may go to a session of its own."""
    while True:
        if os.fork() != 0:
            time.sleep(0.002)
            os._exit(0)
        if own_session:
            os.setsid()


WAYS = (
    "sleeps",
    "ignores signals",
    "starts a program",
    "program in a new session",
    "double fork",
    "forks a crowd",
    "holds the interpreter lock",
    "stops itself",
    "swallows every exception",
    "threads",
    "obeys, its daemon does not",
    "relay of processes",
    "relay of sessions",
)


def misbehave(how: str, tag: str, ready) -> None:
    """Marks the process, leaves a trail of processes as `how` says, calls `ready`, and never returns."""
    mark(tag)
    if how not in ("sleeps", "obeys, its daemon does not"):
        _ignore_signals()
    if how == "starts a program":
        subprocess.Popen(["sleep", "3600"])
    if how == "program in a new session":
        subprocess.Popen(["setsid", "sh", "-c", "trap '' TERM HUP; sleep 3600; sleep 3600"])
    if how in ("double fork", "obeys, its daemon does not"):
        _fork_into(_daemon)
        os.wait()
    if how == "forks a crowd":
        for _ in range(20):
            _fork_into(lambda: time.sleep(3600))
    if how.startswith("relay"):
        _fork_into(lambda: _relay(own_session=how == "relay of sessions"))
    if how == "threads":
        for _ in range(10):
            threading.Thread(target=time.sleep, args=(3600,)).start()
    ready()
    if how == "holds the interpreter lock":
        ctypes.PyDLL(None).sleep(3600)
    if how == "stops itself":
        os.kill(os.getpid(), signal.SIGSTOP)
    while how == "swallows every exception":
        try:
            time.sleep(3600)
        except BaseException:
            continue
    time.sleep(3600)
