"""Prefect 3: its own server with SQLite, and flows in this process that tell the server of their tasks' states."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import peerline

ADDRESS = f"http://127.0.0.1:{peerline.free_port()}/api"

# Prefect reads its settings when it is imported.
os.environ |= {
    "PREFECT_HOME": str(peerline.data() / "prefect"),
    "PREFECT_API_URL": ADDRESS,
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}

import prefect
from prefect.cache_policies import INPUTS
from prefect.task_runners import ThreadPoolTaskRunner

import work

Figures = dict[str, Any]

nothing = prefect.task(work.nothing)
total = prefect.task(work.total)
nothing_kept = prefect.task(work.nothing, persist_result=True, cache_policy=INPUTS)
total_kept = prefect.task(work.total, persist_result=True, cache_policy=INPUTS)


@prefect.task
async def increment(number: int) -> int:
    return work.increment(number)


@prefect.task
async def same(content: bytes) -> bytes:
    return work.same(content)


# A flow that is no coroutine takes a second at least: it waits for the thread of its heartbeat. One that is a coroutine
# holds up its own loop when it maps tasks to threads, which costs more.
@prefect.flow
async def single(number: int) -> int:
    return await increment(number)


@prefect.flow
async def chain(n: int) -> int:
    number = 0
    for _ in range(n):
        number = await increment(number)
    return number


@prefect.flow(task_runner=ThreadPoolTaskRunner(max_workers=peerline.WORKERS))
def fan(n: int) -> int:
    return total.submit(nothing.map(range(n))).result()


@prefect.flow(task_runner=ThreadPoolTaskRunner(max_workers=peerline.WORKERS))
def fan_kept(n: int) -> int:
    return total_kept.submit(nothing_kept.map(range(n))).result()


class Peer:
    """The server is a process of its own; the flows and their threads are in this one, which counts, too."""

    unsupported = {
        "accept": "its SQLite has synchronous=NORMAL: no answer says that a run is safe",
        "accept64": "its SQLite has synchronous=NORMAL: no answer says that a run is safe",
    }

    def __init__(self) -> None:
        self.server: subprocess.Popen | None = None
        self.tasks = 0
        self.loop = asyncio.Runner()

    def start(self) -> Figures:
        """Ready when a first flow has run."""
        begin = time.perf_counter()
        self.server = start_server()
        peerline.wait_until_it_answers(f"{ADDRESS}/health")
        work.expect(1, self.wait(single, 0))
        seconds = time.perf_counter() - begin
        self.caught_up(1)
        return {
            "seconds": seconds,
            "pids": [self.server.pid, os.getpid()],
            "data": str(peerline.data()),
            "versions": peerline.versions("prefect", "fastapi"),
            "settings": f"one server with its SQLite as it comes, without a web page; the tasks of a "
            f"fan in {peerline.WORKERS} threads, all else as coroutines; no logs; results kept for `redispatch` only",
        }

    def single(self, n: int) -> Figures:
        samples = []
        for number in range(n):
            begin = time.perf_counter()
            work.expect(number + 1, self.wait(single, number))
            samples.append(time.perf_counter() - begin)
        self.caught_up(n)
        return {"samples": samples}

    def chain(self, n: int) -> Figures:
        begin = time.perf_counter()
        work.expect(n, self.wait(chain, n))
        return self.timed(begin, n)

    def fan(self, n: int) -> Figures:
        begin = time.perf_counter()
        work.is_total(n, fan(n))
        return self.timed(begin, n + 1)

    def parallel(self, n: int) -> Figures:
        async def client(first: int) -> None:
            for number in range(first, n, 4):
                work.expect(number + 1, await single(number))

        async def clients() -> None:
            await asyncio.gather(*[client(first) for first in range(4)])

        begin = time.perf_counter()
        self.wait(clients)
        return self.timed(begin, n)

    def redispatch(self, n: int) -> Figures:
        """The flow runs again, and each task finds its result by its argument."""
        work.is_total(n, fan_kept(n))
        self.caught_up(n + 1)
        begin = time.perf_counter()
        work.is_total(n, fan_kept(n))
        return self.timed(begin, n + 1)

    def big(self, n: int) -> Figures:
        """A parameter of a flow may have 512 KiB, so the flow finds the content; it never leaves this process."""
        content = os.urandom(n * 1_000_000)

        @prefect.flow
        async def big() -> bytes:
            return await same(content)

        begin = time.perf_counter()
        returned = self.wait(big)
        figures = self.timed(begin, 1)
        work.is_same(content, returned)
        return figures

    def timed(self, begin: float, tasks: int) -> Figures:
        """The seconds until now, when the client has the result, and until the server, too, has it."""
        seconds = time.perf_counter() - begin
        self.caught_up(tasks)
        return {"seconds": seconds, "server_s": time.perf_counter() - begin}

    def caught_up(self, tasks: int) -> None:
        """Waits until the server, too, has the last of these tasks as done, which is long after their flow's end."""
        self.tasks += tasks
        while count_completed() < self.tasks:
            time.sleep(0.05)

    def stop(self) -> None:
        if self.server:
            peerline.end_group(self.server)

    def wait(self, flow: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        async def run() -> Any:
            return await flow(*arguments)

        return self.loop.run(run())


def start_server() -> subprocess.Popen:
    port = ADDRESS.removesuffix("/api").rpartition(":")[2]
    command = [str(Path(sys.executable).with_name("prefect")), "server", "start"]
    command += ["--host", "127.0.0.1", "--port", port, "--no-ui", "--analytics-off"]
    return subprocess.Popen(command, stdout=sys.stderr, start_new_session=True)


def count_completed() -> int:
    """How many tasks the server has as completed."""
    body = json.dumps({"task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}).encode()
    request = urllib.request.Request(f"{ADDRESS}/task_runs/count", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


if __name__ == "__main__":
    peerline.serve(Peer())
