"""The workflows of the comparison, with their tasks as activities, and the worker process that runs both.

Run with the server's address, it works until it is ended. Activities are coroutines, which cost less than threads.
"""

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import work

QUEUE = "compare"

# The server refuses a workflow that waits for more than 2,000 activities.
ACTIVITIES_AT_ONCE = 1_000


@activity.defn
async def nothing(number: int) -> int:
    return work.nothing(number)


@activity.defn
async def increment(number: int) -> int:
    return work.increment(number)


@activity.defn
async def total(numbers: list[int]) -> int:
    return work.total(numbers)


def run(task: Callable[[Any], Any], argument: Any) -> workflow.ActivityHandle:
    return workflow.start_activity(task, argument, start_to_close_timeout=timedelta(minutes=5))


@workflow.defn
class Single:
    @workflow.run
    async def run(self, number: int) -> int:
        return await run(increment, number)


@workflow.defn
class Chain:
    @workflow.run
    async def run(self, n: int) -> int:
        number = 0
        for _ in range(n):
            number = await run(increment, number)
        return number


@workflow.defn
class Fan:
    @workflow.run
    async def run(self, n: int) -> int:
        numbers: list[int] = []
        for first in range(0, n, ACTIVITIES_AT_ONCE):
            portion = range(first, min(n, first + ACTIVITIES_AT_ONCE))
            numbers += await asyncio.gather(*[run(nothing, number) for number in portion])
        return await run(total, numbers)


async def work_until_ended(address: str) -> None:
    worker = Worker(
        await Client.connect(address),
        task_queue=QUEUE,
        workflows=[Single, Chain, Fan],
        activities=[nothing, increment, total],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    await worker.run()


if __name__ == "__main__":
    asyncio.run(work_until_ended(sys.argv[1]))
