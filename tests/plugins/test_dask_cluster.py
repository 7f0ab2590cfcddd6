"""The driver of Dask by itself, on a real cluster of which parts die at chosen moments."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any, Dict

import pytest
from engines import READY_S, kill

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))

from cov_plugins import dask_cluster, frames  # noqa: E402
from cov_plugins.attempts import Ending  # noqa: E402
from cov_plugins.dask_job import Job  # noqa: E402
from cov_runner.elsewhere import COMPLETED  # noqa: E402

pytestmark = [pytest.mark.mends, pytest.mark.own_server]


class Heard:
    """Stands where the server would be: keeps what it is told of one attempt."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.has_begun = False
        self.ending: "asyncio.Future[Ending]" = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        self.has_begun = True

    def accept(self, job: Any) -> None:
        pass

    def end(self, ending: Ending) -> None:
        self.ending.set_result(ending)

    def lose(self, message: str) -> None:
        self.ending.set_exception(AssertionError(message))


def runs_again() -> Any:
    """A task that ends at once; when it is run again, as soon as `go` is there. Travels by value."""

    def function(payload: Dict[str, str]) -> "tuple[Any, ...]":
        place = Path(payload["folder"])
        if (place / "ran").exists():
            while not (place / "go").exists():
                time.sleep(0.01)
        (place / "ran").touch()
        return (COMPLETED, b"first", "", "")

    return function


def runs_once() -> Any:
    """A task that ends at once. Travels by value."""
    return lambda payload: (COMPLETED, b"second", "", "")


def job(number: int, function: Any, folder: Path) -> Job:
    made = Job(Heard(number), f"cov-test-{number}-{os.getpid()}")  # type: ignore[arg-type]
    made.function = function
    made.payload = {"folder": str(folder)}  # type: ignore[dict-item]
    return made


async def pids(client: Any) -> Dict[str, int]:
    """The process of each worker, by its address."""
    return await client.run(os.getpid, asynchronous=True)


@pytest.mark.parametrize("is_noticed", [True, False])
def test_a_worker_dies_with_an_answer_that_was_not_fetched_yet(
    cluster, tmp_path, monkeypatch, is_noticed
):
    """The task runs again, and holds up no other."""
    linger = dask_cluster.Cluster._linger
    killed = []

    async def killing(self) -> None:
        """The moment between the end of a task and the fetching of its answer."""
        await linger(self)
        over = [job for job in self._done if job.attempt.number == 1]
        if killed or not over:
            return
        client, future = self._client, over[0].future
        holders = (await client.scheduler.who_has(keys=[future.key]))[future.key]
        processes = await pids(client)
        for holder in holders:
            killed.append(holder)
            kill(processes[holder])
        while is_noticed and future.status == "finished":
            await asyncio.sleep(0.001)

    monkeypatch.setattr(dask_cluster.Cluster, "_linger", killing)

    async def scenario() -> None:
        # The second worker takes over.
        connection = dask_cluster.Cluster(cluster.address, 1 << 20, lambda job: None)
        first, second = job(1, runs_again(), tmp_path), job(2, runs_once(), tmp_path)
        connection.submit([first])
        while not killed:
            await asyncio.sleep(0.01)
        cluster.start_worker()
        connection.submit([second])
        ending = await asyncio.wait_for(second.attempt.ending, READY_S)
        assert ending.outcome == frames.Completed(b"second")
        (tmp_path / "go").touch()
        ending = await asyncio.wait_for(first.attempt.ending, READY_S)
        assert ending.outcome == frames.Completed(b"first")

    asyncio.run(scenario())
