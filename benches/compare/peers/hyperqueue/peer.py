"""HyperQueue: the server and two workers in this process, as its wheel brings them; tasks are processes.

Its own wait for a job looks once a second, so the last task of a job tells its client by a pipe.
"""

import os
import select
import sys
import time
from pathlib import Path
from typing import Any

import clients
import peerline
import work
from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig
from hyperqueue.task.function import PythonEnv
from tasks import Commands, Functions

KIND = sys.argv[1]

# The driver's limit is longer than this where it is anything but the usual.
SECONDS_MAX = 115.0

Figures = dict[str, Any]


class Client:
    """A connection, and a pipe by which tasks tell their results."""

    def __init__(self, cluster: LocalCluster, folder: Path, name: str) -> None:
        self.connection = cluster.client(python_env=PythonEnv(sys.executable))
        self.pipe = folder / f"pipe-{name}"
        os.mkfifo(self.pipe)
        self.reader = os.open(self.pipe, os.O_RDWR | os.O_NONBLOCK)

    def result(self, job: Job) -> int:
        """What the last task of a job has told."""
        submitted = self.connection.submit(job)
        end = time.perf_counter() + SECONDS_MAX
        while not select.select([self.reader], [], [], 1.0)[0]:
            if failed := self.connection.get_failed_tasks(submitted):
                raise RuntimeError(next(iter(failed.values())).error)
            if time.perf_counter() > end:
                raise TimeoutError(f"job {submitted.id} has not ended in {SECONDS_MAX:.0f} s")
        return int(os.read(self.reader, 100))


class Peer:
    """Everything is in this process, and in the processes of the tasks."""

    unsupported = {
        "redispatch": "it keeps no results",
        "accept": "it keeps jobs in memory only",
        "accept64": "it keeps jobs in memory only",
    }

    def __init__(self) -> None:
        self.tasks = Commands() if KIND == "commands" else Functions()
        self.folder = peerline.data()

    def start(self) -> Figures:
        """Ready when a first task has run."""
        begin = time.perf_counter()
        self.cluster = LocalCluster(str(self.folder / "server"))
        for _ in range(peerline.WORKERS):
            self.cluster.start_worker(WorkerConfig(cores=1))
        self.clients = [Client(self.cluster, self.folder, str(number)) for number in range(4)]
        self.client = self.clients[0]
        work.expect(1, self.client.result(self.tasks.single(self.folder, self.client.pipe, 0)))
        return {
            "seconds": time.perf_counter() - begin,
            "pids": [os.getpid()],
            "data": str(self.folder),
            "versions": peerline.versions("hyperqueue"),
            "settings": f"{peerline.WORKERS} workers of one core; no output files"
            + ("; a task is `true`, without a value" if KIND == "commands" else "; values go through files"),
        }

    def single(self, n: int) -> Figures:
        samples = []
        for number in range(n):
            begin = time.perf_counter()
            work.expect(number + 1, self.client.result(self.tasks.single(self.folder, self.client.pipe, number)))
            samples.append(time.perf_counter() - begin)
        return {"samples": samples}

    def chain(self, n: int) -> None:
        work.expect(n, self.client.result(self.tasks.chain(self.folder, self.client.pipe, n)))

    def fan(self, n: int) -> None:
        work.is_total(n, self.client.result(self.tasks.fan(self.folder, self.client.pipe, n)))

    def parallel(self, n: int) -> Figures:
        def own(client: Client, number: int) -> None:
            work.expect(number + 1, client.result(self.tasks.single(self.folder, client.pipe, number)))

        return {"seconds": clients.share(n, self.clients, own)}

    def big(self, n: int) -> Figures:
        content = os.urandom(n * 1_000_000)
        file = self.folder / "returned"
        begin = time.perf_counter()
        self.client.result(self.tasks.big(file, self.client.pipe, content))
        returned = file.read_bytes()
        seconds = time.perf_counter() - begin
        work.is_same(content, returned)
        return {"seconds": seconds}

    def stop(self) -> None:
        self.cluster.stop()


if __name__ == "__main__":
    peerline.serve(Peer())
