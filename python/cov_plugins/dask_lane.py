"""Tasks on Dask, by a driver of our own: one client for each scheduler, many tasks in a message.

Covalent's executor for Dask makes a client for each task, needs a folder that the workers share,
and finds nothing again. What its user says to it means the same here.
"""

from __future__ import annotations

from typing import Any, Dict, List, Union

from . import dask_job, frames
from .attempts import Ending, JobLost, Link, Settings
from .dask_cluster import Cluster
from .dask_job import Job
from .frames import Attach, Engine, Kill, Order, Run, Show
from .lane import Lane, job_of
from .secrecy import log_error

_NO_ADDRESS = (
    "No Dask scheduler is named: say `scheduler_address` to the executor, start the server with "
    "`--dask ADDRESS`, or set `dask.scheduler_address` in Covalent's configuration."
)


class DaskLane(Lane):
    """Attempts that Dask runs."""

    def __init__(self, name: str, link: Link, settings: Settings) -> None:
        self._clusters: Dict[str, Cluster] = {}
        self._where: Dict[int, Cluster] = {}
        super().__init__(name, link, settings)

    def take(self, orders: List[Order]) -> None:
        """Carries out orders; tasks that come together are sent together."""
        new: Dict[Cluster, List[Job]] = {}
        for order in orders:
            if isinstance(order, Run):
                self._start(order, new)
                continue
            self._flush(new)
            self.take_one(order)
        self._flush(new)

    @staticmethod
    def _flush(new: Dict[Cluster, List[Job]]) -> None:
        for cluster, jobs in new.items():
            cluster.submit(jobs)
        new.clear()

    def _start(self, order: Run, new: Dict[Cluster, List[Job]]) -> None:
        attempt = self.attempt_of(order)
        address = _address(order.engine)
        if not address:
            self._over(attempt.number, Ending(frames.Refused(_NO_ADDRESS)))
            return
        try:
            job = dask_job.new(attempt, order)
        except Exception as error:
            log_error(order.engine.name, error)
            why = f"The task cannot be sent to Dask: {type(error).__name__}: {error}"
            self._over(attempt.number, Ending(frames.Refused(why)))
            return
        cluster = self._cluster(address)
        self._where[attempt.number] = cluster
        new.setdefault(cluster, []).append(job)

    def _over(self, number: int, ending: Ending) -> None:
        attempt = self.attempts.pop(number, None)
        self._where.pop(number, None)
        if attempt is not None:
            attempt.end(ending)

    def _cluster(self, address: str) -> Cluster:
        cluster = self._clusters.get(address)
        if cluster is None:
            limit = self.settings.inline_bytes_max
            cluster = self._clusters[address] = Cluster(address, limit, self._forget)
        return cluster

    def _forget(self, job: Job) -> None:
        self.attempts.pop(job.attempt.number, None)
        self._where.pop(job.attempt.number, None)

    async def settle(self) -> None:
        """Has what is over released at its scheduler."""
        for cluster in self._clusters.values():
            await cluster.settle()

    def take_one(self, order: Order) -> None:
        """Carries out an order that is no task."""
        if isinstance(order, Attach):
            self._attach(order)
        elif isinstance(order, Kill):
            cluster = self._where.get(order.attempt)
            if cluster is not None:
                cluster.kill(order.attempt)
        elif isinstance(order, Show):
            # What a task prints on a worker comes with its result.
            self.link.send(frames.shown(order.attempt, b"", b""))

    def _attach(self, order: Attach) -> None:
        attempt = self.attempt_of(order)
        try:
            said: Dict[str, Any] = job_of(order)
            address, key = str(said["address"]), str(said["key"])
        except (JobLost, KeyError) as error:
            del self.attempts[attempt.number]
            attempt.lose(f"The job cannot be read: {error}")
            return
        cluster = self._cluster(address)
        self._where[attempt.number] = cluster
        cluster.attach(Job(attempt, key))


def _address(engine: Engine) -> str:
    attributes: Union[Dict[str, Any], None] = engine.data.get("attributes")
    said = (attributes or {}).get("scheduler_address")
    if said:
        return str(said)
    import importlib

    configuration: Any = importlib.import_module("covalent._shared_files.config")
    try:
        return str(configuration.get_config("dask.scheduler_address"))
    except KeyError:
        return ""
