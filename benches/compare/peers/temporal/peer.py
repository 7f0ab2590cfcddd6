"""Temporal: the development server, worker processes with the workflows beside this file, and a client."""

import asyncio
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle

import peerline
import work
from workflows import QUEUE, Chain, Fan, Single

Figures = dict[str, Any]


class Peer:
    """The server and the workers are processes of their own; this one is the client."""

    unsupported = {"big": "an argument or a result may have 2 MiB; larger content is left to the user's own store"}

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.processes: list[subprocess.Popen] = []
        self.address = f"127.0.0.1:{peerline.free_port()}"
        self.names = (f"workflow-{number}" for number in itertools.count())

    def start(self) -> Figures:
        """Ready when a first workflow has run."""
        begin = time.perf_counter()
        self.processes.append(start_server(self.address))
        self.client = self.wait(connected(self.address))
        self.processes += [start_worker(self.address) for _ in range(peerline.WORKERS)]
        work.expect(1, self.wait(self.one(self.client, 0)))
        return {
            "seconds": time.perf_counter() - begin,
            "pids": [process.pid for process in self.processes],
            "data": str(peerline.data()),
            "versions": {"temporal": server_version(), **peerline.versions("temporalio")},
            "settings": f"{peerline.WORKERS} worker processes, workflows not sandboxed; the server without a web page, "
            "its SQLite with a write-ahead log and synchronous=FULL",
        }

    def single(self, n: int) -> Figures:
        samples = []
        for number in range(n):
            begin = time.perf_counter()
            work.expect(number + 1, self.wait(self.one(self.client, number)))
            samples.append(time.perf_counter() - begin)
        return {"samples": samples}

    def chain(self, n: int) -> None:
        work.expect(n, self.wait(self.result(Chain.run, n)))

    def fan(self, n: int) -> None:
        work.is_total(n, self.wait(self.result(Fan.run, n)))

    def parallel(self, n: int) -> Figures:
        async def client(connection: Client, first: int) -> None:
            for number in range(first, n, 4):
                work.expect(number + 1, await self.one(connection, number))

        return {"seconds": self.wait(self.from_connections(4, client))}

    def accept(self, n: int, connections: int = 1) -> Figures:
        """The server answers when the start of the workflow is in its history. No worker takes from this queue."""

        async def client(connection: Client, first: int) -> None:
            for number in range(first, n, connections):
                await self.begun(connection, Single.run, number, "nobody")

        return {"seconds": self.wait(self.from_connections(connections, client))}

    def accept64(self, n: int) -> Figures:
        return self.accept(n, 64)

    def redispatch(self, n: int) -> Figures:
        """A fan that has run is reset to its last decision, so that all activities are taken from the history."""
        handle = self.wait(self.begun(self.client, Fan.run, n))
        work.is_total(n, self.wait(handle.result()))
        last = self.wait(last_decision(handle))
        begin = time.perf_counter()
        work.is_total(n, self.wait(self.again(handle, last)))
        return {"seconds": time.perf_counter() - begin}

    def stop(self) -> None:
        for process in reversed(self.processes):
            peerline.end_group(process)

    def wait(self, coroutine: Coroutine) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    async def begun(self, client: Client, run: Any, argument: int, queue: str = QUEUE) -> WorkflowHandle:
        return await client.start_workflow(run, argument, id=next(self.names), task_queue=queue)

    async def result(self, run: Any, argument: int) -> int:
        return await (await self.begun(self.client, run, argument)).result()

    async def one(self, client: Client, number: int) -> int:
        return await (await self.begun(client, Single.run, number)).result()

    async def from_connections(self, count: int, client: Any) -> float:
        """Seconds until `client(connection, first)` has ended on so many connections of their own."""
        connections = [await Client.connect(self.address) for _ in range(count)]
        begin = time.perf_counter()
        await asyncio.gather(*[client(connection, first) for first, connection in enumerate(connections)])
        return time.perf_counter() - begin

    async def again(self, handle: WorkflowHandle, last: int) -> int:
        request = ResetWorkflowExecutionRequest(
            namespace=self.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=handle.first_execution_run_id),
            reason="again",
            workflow_task_finish_event_id=last,
            request_id=handle.id,
        )
        answer = await self.client.workflow_service.reset_workflow_execution(request)
        return await self.client.get_workflow_handle(handle.id, run_id=answer.run_id).result()


async def last_decision(handle: WorkflowHandle) -> int:
    """The last completed workflow task in a history, where a reset can begin."""
    decided = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return [event.event_id async for event in handle.fetch_history_events() if event.event_type == decided][-1]


async def connected(address: str, seconds_max: float = 60.0) -> Client:
    end = time.perf_counter() + seconds_max
    while True:
        try:
            return await Client.connect(address)
        except RuntimeError:
            if time.perf_counter() > end:
                raise
            await asyncio.sleep(0.01)


def start_server(address: str) -> subprocess.Popen:
    host, _, port = address.rpartition(":")
    command = [program(), "server", "start-dev", "--ip", host, "--port", port, "--headless", "--log-level", "error"]
    command += ["--db-filename", str(peerline.data() / "temporal.sqlite")]
    # As safe as the rollback journal that it comes with, and several times as fast.
    command += ["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=2"]
    return subprocess.Popen(command, stdout=sys.stderr, start_new_session=True)


def start_worker(address: str) -> subprocess.Popen:
    command = [sys.executable, str(Path(__file__).with_name("workflows.py")), address]
    return subprocess.Popen(command, stdout=sys.stderr, start_new_session=True)


def server_version() -> str:
    answer = subprocess.run([program(), "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return answer.removeprefix("temporal version ").strip()


def program() -> str:
    return str(Path(sys.executable).with_name("temporal"))


if __name__ == "__main__":
    peerline.serve(Peer())
