"""The keeper: the zygote's parent, which does nothing but outlive it.

When the zygote is killed, its runners die and what they left is adopted by the keeper, which ends
it. The keeper holds the zygote's end of the control connection open until then: to the server the
zygote is gone when everything is.
"""

from __future__ import annotations

import os
import resource
import signal

from . import cgroups, processes, system

# How long what a dead zygote left may take to die. What lasts longer waits for a device, or is not
# this user's to kill; no task could be run if that were waited for.
_LEFT_SECONDS_MAX = 10.0


def stay_behind(use_cgroups: bool) -> None:
    """Returns in a new process, which becomes the zygote. The calling one becomes the keeper."""
    system.adopt_orphans()
    groups = cgroups.create() if use_cgroups else cgroups.Cgroups(None)
    me = os.getpid()
    zygote = os.fork()
    if zygote == 0:
        system.die_with_parent(me)
        return
    try:
        cgroups.lock(groups)
        status = _keep(zygote)
        groups.kill_all()
        if not processes.end_all(_LEFT_SECONDS_MAX):
            _say("some of what tasks started cannot be killed")
        groups.remove_all()
        _end_like(status)
    except BaseException as error:
        _say(f"the keeper failed: {type(error).__name__}: {error}")
    os._exit(1)


def _keep(zygote: int) -> int:
    """Waits for the zygote's end; returns its wait status."""
    system.set_name("cov-keeper")
    # Whoever wants the end of all sends these to the server, or to the zygote.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == zygote:
            return status


def _say(text: str) -> None:
    os.write(2, (text + "\n").encode("utf-8", "backslashreplace"))


def _end_like(status: int) -> None:
    """Ends as the zygote did, for whoever tells why."""
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    number = os.WTERMSIG(status)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
