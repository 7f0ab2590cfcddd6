"""The host: reads what the server wants and hands it to the executor that is meant.

The main thread reads; every executor has a thread of its own. When the server goes, however it
goes, the connection closes: the host then ends, and its parent ends whatever plugins
started. Jobs that run elsewhere go on.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import sys
import threading
from typing import Dict, List, NoReturn, Optional

from cov_runner import keeper, system
from cov_runner.frames import Connection, hello
from cov_runner.zygote import prefer_own_pip

from . import frames, secrecy, surroundings
from .attempts import Link, Settings
from .catalogue import Catalogue
from .frames import Attach, Find, Kill, Order, Run, Show
from .lane import Lane, PluginLane

EXIT_NO_COVALENT = 5

# How long an executor may keep the host from ending. One that blocks its loop does so.
_SETTLE_SECONDS_MAX = 0.5

_DASK = "dask"


class Host:
    """The lanes, and which attempt is in which."""

    def __init__(self, link: Link, settings: Settings, catalogue: Catalogue) -> None:
        self._link = link
        self._settings = settings
        self._catalogue = catalogue
        self._lanes: Dict[str, Lane] = {}
        self._where: Dict[int, Lane] = {}

    def take(self, order: Order) -> None:
        """Carries out an order."""
        if isinstance(order, Run):
            self._to_lane(order.engine.name, order.task.attempt, order)
        elif isinstance(order, Attach):
            self._to_lane(order.engine.name, order.attempt, order)
        elif isinstance(order, (Kill, Show)):
            self._to_attempt(order)
        elif isinstance(order, Find):
            threading.Thread(target=self._find, daemon=True).start()

    def settle(self) -> None:
        """Says to engines what is still to be said."""
        for lane in self._lanes.values():
            if type(lane).settle is not Lane.settle:
                lane.settled(_SETTLE_SECONDS_MAX)

    def _to_lane(self, name: str, attempt: int, order: Order) -> None:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = self._new_lane(name)
        self._where[attempt] = lane
        lane.post(order)
        if len(self._where) > 1024:
            self._forget()

    def _forget(self) -> None:
        """Drops what is over."""
        known = {number for lane in self._lanes.values() for number in list(lane.attempts)}
        recent = list(self._where)[-256:]
        known.update(recent)
        self._where = {number: lane for number, lane in self._where.items() if number in known}

    def _new_lane(self, name: str) -> Lane:
        if name == _DASK and self._catalogue.is_covalents(name):
            from .dask_lane import DaskLane

            return DaskLane(name, self._link, self._settings)
        return PluginLane(name, self._link, self._settings, self._catalogue)

    def _to_attempt(self, order: "Kill | Show") -> None:
        lane = self._where.get(order.attempt)
        if lane is not None:
            lane.post(order)
        elif isinstance(order, Show):
            self._link.send(frames.shown(order.attempt, b"", b""))

    def _find(self) -> None:
        try:
            found = self._catalogue.found()
        except BaseException as error:
            secrecy.log_error("the search for plugins", error)
            found = []
        managed = [f._replace(managed=True) if self._is_ours(f.name) else f for f in found]
        self._link.send(frames.found(managed))

    def _is_ours(self, name: str) -> bool:
        return name == _DASK and self._catalogue.is_covalents(name)


def serve(connection: Connection, host: Host) -> None:
    """Takes orders until the server is gone."""
    while True:
        try:
            body = connection.receive()
        except OSError:
            return
        if body is None:
            return
        host.take(frames.read_order(body))


def _control() -> socket.socket:
    control = socket.socket(fileno=os.dup(0))
    control.setblocking(True)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return control


def _settings(arguments: List[str]) -> Settings:
    run_dir, spool_dir, url, inline, threads, executor_dir = arguments
    return Settings(run_dir, spool_dir, url, int(inline), int(threads), executor_dir)


def main(arguments: List[str]) -> NoReturn:
    """Serves the control connection on descriptor 0 until the server is gone."""
    keeper.stay_behind(use_cgroups=False)
    system.set_name("cov-plugins")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = _settings(arguments)
    prefer_own_pip(settings.run_dir)
    os.chdir(settings.run_dir)
    covalent = _covalent(settings)
    secrecy.guard_log()
    control = _control()
    link = Link(control)
    import cloudpickle

    versions = (platform.python_version(), cloudpickle.__version__, covalent)
    host = Host(link, settings, Catalogue(settings.executor_dir))
    link.send(hello(os.getpid(), *versions))
    try:
        serve(Connection(control), host)
        host.settle()
    except BaseException as error:
        secrecy.log_error("the host", error)
    os._exit(0)


def _covalent(settings: Settings) -> str:
    why: Optional[str] = None
    try:
        return surroundings.prepare(settings.run_dir, settings.dispatcher_url)
    except surroundings.NoCovalent as error:
        why = str(error)
    sys.stderr.write(f"executor plugins need covalent, which cannot be imported: {why}\n")
    sys.stderr.flush()
    os._exit(EXIT_NO_COVALENT)
