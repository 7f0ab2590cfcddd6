"""How many electrons that do nothing a server sends through Dask in a second, beside what Dask does alone.

    cargo xtask services --engines -- env COV_SERVER_BIN=target/release/cov-server \
        target/plugins-venv/bin/python tests/plugins/measure_dask.py

Three rates of the same cluster, in turn, several times: Dask itself, a bare loop around Covalent's plugin, and the
server. Not a test: it asserts only that the results are right.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sdk"))

from harness import Server, isolate_sdk, pickle_by_value, point_sdk_at  # noqa: E402

TASKS = int(os.environ.get("COV_MEASURE_TASKS", "1000"))
RUNS = int(os.environ.get("COV_MEASURE_RUNS", "5"))
LOOP_TASKS = min(TASKS, 200)


def main() -> None:
    address = os.environ["COV_TEST_DASK_ADDRESS"]
    if len(sys.argv) > 1:
        print(asyncio.run(bare_loop(address, sys.argv[1])))
        return
    with tempfile.TemporaryDirectory() as directory:
        isolate_sdk(Path(directory) / "user")
        pickle_by_value()
        options = ("--dask", address, "--executor-slots", "dask=1000")
        server = Server(os.environ["COV_SERVER_BIN"], Path(directory) / "server", options=options)
        server.start()
        try:
            point_sdk_at(server.host, server.port)
            measure(address, server)
        finally:
            server.stop()


def measure(address: str, server: Server) -> None:
    rates: dict[str, list[float]] = {"Dask alone": [], "bare loop": [], "server": []}
    through_server(10)
    for run in range(RUNS):
        rates["Dask alone"].append(alone(address))
        rates["bare loop"].append(bare_loop_elsewhere(run))
        rates["server"].append(through_server(TASKS))
    print(f"{TASKS} electrons that do nothing, {RUNS} runs, per second")
    for name, found in rates.items():
        median = statistics.median(found)
        print(f"{name:<12} median {median:7.1f}   from {min(found):7.1f} to {max(found):7.1f}")
    share = statistics.median(rates["server"]) / statistics.median(rates["Dask alone"])
    print(f"server / Dask alone: {share:.0%}")
    loop = statistics.median(rates["server"]) / statistics.median(rates["bare loop"])
    print(f"server / bare loop:  {loop:.0%}")


def nothing(x):
    return x


def alone(address: str) -> float:
    """Every task is submitted by itself, as its own future; all are waited for."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.submit(nothing, -1, pure=False).result()
        begin = time.perf_counter()
        futures = [client.submit(nothing, i, pure=False) for i in range(TASKS)]
        found = client.gather(futures)
        took = time.perf_counter() - begin
    assert found == list(range(TASKS))
    return TASKS / took


def bare_loop_elsewhere(run: int) -> float:
    """In a process of its own: the plugin leaves a connection to the scheduler behind for each task."""
    command = [sys.executable, __file__, str(run)]
    told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return float(told.stdout.split()[-1])


async def bare_loop(address: str, run: str) -> float:
    """Covalent's plugin by its managed contract, and nothing else: files in, `send`, `poll`, `receive`."""
    import covalent as ct
    from covalent._workflow.transport import TransportableObject
    from covalent.executor.base import Signals
    from covalent.executor.schemas import ResourceMap, TaskSpec
    from covalent.executor.utils.serialize import serialize_node_asset

    cache = Path(os.environ["COVALENT_CACHE_DIR"])
    cache.mkdir(parents=True, exist_ok=True)

    async def answer(executor) -> None:
        while (message := await executor._send_queue.get())[0] != Signals.EXIT:
            executor._recv_queue.put_nowait((True, None))

    async def one(number: int) -> str:
        executor = ct.executor.DaskExecutor(scheduler_address=address, cache_dir=str(cache))
        executor._init_runtime(asyncio.get_running_loop(), None)
        listener = asyncio.ensure_future(answer(executor))
        group = {"dispatch_id": f"loop-{run}-{number}", "node_ids": [0], "task_group_id": 0}

        def put(key: str, content: bytes) -> str:
            path = executor.get_upload_uri(group, key)
            Path(path).write_bytes(content)
            return path

        resources = ResourceMap(
            functions={0: put("function-0", serialize_node_asset(TransportableObject(nothing), "function"))},
            inputs={1: put("node_1", serialize_node_asset(TransportableObject(number), "output"))},
            hooks={0: put("hooks-0", serialize_node_asset({}, "hooks"))},
        )
        handle = await executor.send([TaskSpec(electron_id=0, args=[1], kwargs={})], resources, group)
        update = (await executor.receive(group, await executor.poll(group, handle)))[0]
        listener.cancel()
        return str(update.status)

    begin = time.perf_counter()
    statuses = await asyncio.gather(*[one(number) for number in range(LOOP_TASKS)])
    took = time.perf_counter() - begin
    assert statuses == ["COMPLETED"] * LOOP_TASKS
    return LOOP_TASKS / took


def through_server(tasks: int) -> float:
    """From the start of the first electron to the end of the last one, as the server tells them."""
    import covalent as ct

    does_nothing = ct.electron(nothing, executor="dask")

    @ct.lattice(executor="local", workflow_executor="local")
    def fan(n):
        return [does_nothing(i) for i in range(n)]

    result = ct.get_result(ct.dispatch(fan)(tasks), wait=True)
    assert result.result == list(range(tasks)), result
    rows = [row for row in result.get_all_node_results() if row["node_name"] == "nothing"]
    begin = min(_moment(row["start_time"]) for row in rows)
    end = max(_moment(row["end_time"]) for row in rows)
    return tasks / (end - begin).total_seconds()


def _moment(value) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


if __name__ == "__main__":
    main()
