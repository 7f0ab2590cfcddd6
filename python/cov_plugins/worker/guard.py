"""A process between a worker and what it runs for a task. Runs as a program of its own.

It adopts what the task leaves, and ends all of it: when the task's own process has ended, when the
worker asks, and when the worker is gone. Then it tells how that process ended.

Arguments: the file that says what to start, and the numbers of two descriptors: one that the worker
holds the other end of and closes to have all ended, one to tell the end by.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import signal
import sys
import time

NOT_FOUND = 127
NOT_STARTED = 126

# A file that was just written may be open, for a moment, in a process that is being started.
_BUSY_TRIES = 100
_BUSY_PAUSE_S = 0.01
_LOOK_S = 1.0
_LOOK_ENDING_S = 0.05
# How long what is killed may take to be gone before the end is told all the same.
_LAST_S = 30.0


def main(arguments):
    """Starts what the file says, and stays until nothing of it is left."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import processes
    import system

    path, control, status = arguments[0], int(arguments[1]), int(arguments[2])
    with open(path, encoding="ascii") as file:
        launch = json.load(file)
    parent = os.getppid()
    system.adopt_orphans()
    system.set_name("cov-guard")
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(awake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    os.set_inheritable(control, False)
    os.set_inheritable(status, False)
    me = os.getpid()
    child = os.fork()
    if child == 0:
        _become(launch, system, me)
    _leave_streams()
    asked = _Asked(control, awake, parent)
    signal.signal(signal.SIGTERM, asked.by_signal)
    ended = _wait(child, asked, launch["grace"], processes)
    processes.end_all(_LAST_S)
    os.write(status, json.dumps(ended).encode("ascii"))


class _Asked:
    """Whether all shall end."""

    def __init__(self, control, awake, parent):
        self._control = control
        self._awake = awake
        self._parent = parent
        self._is_asked = False

    def by_signal(self, *_):
        self._is_asked = True

    def look(self, seconds):
        """Waits for something to happen, at most so long; whether all shall end."""
        watched = [self._awake] if self._is_asked else [self._awake, self._control]
        ready = select.select(watched, [], [], seconds)[0]
        if self._awake in ready:
            os.read(self._awake, 4096)
        # Who holds the other end never writes: it closes it, or is gone.
        if self._control in ready or os.getppid() != self._parent:
            self._is_asked = True
        return self._is_asked


def _wait(child, asked, grace, processes):
    """Waits for the child's end, or until it was asked to end and the grace is over."""
    ended, until = None, None
    while True:
        is_alone = False
        try:
            while True:
                pid, how = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == child:
                    ended = _how(how)
        except ChildProcessError:
            is_alone = True
        if is_alone or (ended is not None and until is None):
            break
        if until is not None and time.monotonic() >= until:
            break
        is_asked = asked.look(_LOOK_S if until is None else _LOOK_ENDING_S)
        if is_asked and until is None:
            until = time.monotonic() + grace
            processes.send_group(child, signal.SIGTERM)
            for pid in processes.below([os.getpid()], processes.parents()):
                processes.send(pid, signal.SIGTERM)
    return {"signal": int(signal.SIGKILL)} if ended is None else ended


def _how(status):
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    return {"code": os.WEXITSTATUS(status)}


def _leave_streams():
    # They are the child's: who reads them must see when the last of it is gone.
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.close(nothing)


def _become(launch, system, parent):
    """Becomes the program; never returns."""
    program = launch["program"]
    try:
        os.setsid()
        system.die_with_parent(parent)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Python ignores it, and what is ignored stays so.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        system.prefer_for_oom_killer()
        limit = launch["memory_bytes_max"]
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if launch["folder"] is not None:
            os.chdir(launch["folder"])
        _exec([program] + launch["arguments"], launch["variables"])
    except OSError as error:
        said = f"{program} cannot be started: {error.strerror}\n"
        os.write(2, said.encode("utf-8", "backslashreplace"))
        os._exit(NOT_FOUND if error.errno == errno.ENOENT else NOT_STARTED)
    finally:
        os._exit(NOT_STARTED)


def _exec(words, variables):
    for _ in range(_BUSY_TRIES):
        try:
            os.execvpe(words[0], words, variables)
        except OSError as error:
            if error.errno != errno.ETXTBSY:
                raise
        time.sleep(_BUSY_PAUSE_S)
    os.execvpe(words[0], words, variables)


if __name__ == "__main__":
    main(sys.argv[1:])
