"""DBOS: a library in this process that keeps workflows and their steps in SQLite or PostgreSQL.

With `steps`, a task is a step of its workflow. With `children`, it is a workflow that its workflow starts, as it is
done when tasks shall run anywhere and be seen on their own.
"""

import asyncio
import contextlib
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dbos import DBOS

import clients
import peerline
import work
from database import PostgreSQL

DATABASE, TASKS = sys.argv[1:3]

Figures = dict[str, Any]

nothing = DBOS.step()(work.nothing)
increment = DBOS.step()(work.increment)
total = DBOS.step()(work.total)
same = DBOS.step()(work.same)


@DBOS.step()
async def nothing_async(number: int) -> int:
    return work.nothing(number)


@DBOS.step()
async def total_async(numbers: list[int]) -> int:
    return work.total(numbers)


@DBOS.workflow()
def single_step(number: int) -> int:
    return increment(number)


@DBOS.workflow()
def chain_of_steps(n: int) -> int:
    number = 0
    for _ in range(n):
        number = increment(number)
    return number


@DBOS.workflow()
async def fan_of_steps(n: int) -> int:
    return await total_async(await asyncio.gather(*[nothing_async(number) for number in range(n)]))


@DBOS.workflow()
def big_step(content: bytes) -> bytes:
    return same(content)


@DBOS.workflow()
def nothing_child(number: int) -> int:
    return work.nothing(number)


@DBOS.workflow()
def increment_child(number: int) -> int:
    return work.increment(number)


@DBOS.workflow()
def total_child(numbers: list[int]) -> int:
    return work.total(numbers)


@DBOS.workflow()
def same_child(content: bytes) -> bytes:
    return work.same(content)


@DBOS.workflow()
def single_child(number: int) -> int:
    return increment_child(number)


@DBOS.workflow()
def chain_of_children(n: int) -> int:
    number = 0
    for _ in range(n):
        number = increment_child(number)
    return number


@DBOS.workflow()
def fan_of_children(n: int) -> int:
    children = [DBOS.start_workflow(nothing_child, number) for number in range(n)]
    return total_child([child.get_result() for child in children])


@DBOS.workflow()
def big_child(content: bytes) -> bytes:
    return same_child(content)


def fan_of_steps_now(n: int) -> int:
    return asyncio.run(fan_of_steps(n))


WORKFLOWS = {
    "steps": (single_step, chain_of_steps, fan_of_steps_now, big_step),
    "children": (single_child, chain_of_children, fan_of_children, big_child),
}


class Peer:
    """Everything is in this process, but for PostgreSQL."""

    def __init__(self) -> None:
        self.postgres = PostgreSQL(peerline.data() / "postgres") if DATABASE == "postgres" else None
        self.one, self.line, self.many, self.large = WORKFLOWS[TASKS]

    def start(self) -> Figures:
        """Ready when a first workflow has run."""
        if self.postgres:
            self.postgres.prepare()
        begin = time.perf_counter()
        url = self.postgres.start() if self.postgres else sqlite_with_log(peerline.data() / "dbos.sqlite")
        DBOS(config={"name": "compare", "system_database_url": url, "log_level": "ERROR"})
        DBOS.launch()
        work.expect(1, self.one(0))
        database = "PostgreSQL as it comes" if self.postgres else "SQLite with a write-ahead log and synchronous=FULL"
        server = self.postgres.versions() if self.postgres else {}
        return {
            "seconds": time.perf_counter() - begin,
            "pids": [os.getpid()],
            "data": str(peerline.data()),
            "versions": {**server, **peerline.versions("dbos")},
            "settings": "one process, which is the client, too; threads as they come; " + database,
        }

    def single(self, n: int) -> Figures:
        samples = []
        for number in range(n):
            begin = time.perf_counter()
            work.expect(number + 1, self.one(number))
            samples.append(time.perf_counter() - begin)
        return {"samples": samples}

    def chain(self, n: int) -> None:
        work.expect(n, self.line(n))

    def fan(self, n: int) -> None:
        work.is_total(n, self.many(n))

    def parallel(self, n: int) -> Figures:
        def client(_client: int, number: int) -> None:
            work.expect(number + 1, self.one(number))

        return {"seconds": clients.share(n, range(4), client)}

    def accept(self, n: int, threads: int = 1) -> Figures:
        """A workflow is in the database when `start_workflow` comes back; what are threads here are connections."""
        handles = []

        def client(_client: int, number: int) -> None:
            handles.append(DBOS.start_workflow(self.one, number))

        seconds = clients.share(n, range(threads), client)
        for handle in handles:
            handle.get_result()
        return {"seconds": seconds}

    def accept64(self, n: int) -> Figures:
        return self.accept(n, 64)

    def redispatch(self, n: int) -> Figures:
        """A fork of a fan that has run, from behind its last step."""
        work.is_total(n, self.many(n))
        first = DBOS.list_workflows(name=fan_name(self.many), sort_desc=True, limit=1)[0].workflow_id
        behind = max(step["function_id"] for step in DBOS.list_workflow_steps(first)) + 1
        begin = time.perf_counter()
        work.is_total(n, DBOS.fork_workflow(first, behind).get_result(polling_interval_sec=0.01))
        return {"seconds": time.perf_counter() - begin}

    def big(self, n: int) -> Figures:
        content = os.urandom(n * 1_000_000)
        begin = time.perf_counter()
        returned = self.large(content)
        seconds = time.perf_counter() - begin
        work.is_same(content, returned)
        return {"seconds": seconds}

    def stop(self) -> None:
        DBOS.destroy()
        if self.postgres:
            self.postgres.stop()


def sqlite_with_log(file: Path) -> str:
    """A database with a write-ahead log, which is as safe as the rollback journal that SQLite comes with, and faster."""
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode=WAL")
    return f"sqlite:///{file}"


def fan_name(fan: Callable[[int], int]) -> str:
    return (fan_of_steps if fan is fan_of_steps_now else fan).__qualname__


if __name__ == "__main__":
    peerline.serve(Peer())
