"""Requests and times of the unmodified SDK against a running server; prints a table.

    COV_SDK_ADDRESS=127.0.0.1:48008 python tests/sdk/measure.py

Counts what the SDK in this process sends (`requests` is asked, the SDK is not touched); what tasks send is
not seen here. Not a test: it asserts only that the results are right.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from harness import isolate_sdk, point_sdk_at

RUNS = 5


def main() -> None:
    host, _, port = os.environ["COV_SDK_ADDRESS"].rpartition(":")
    executor = os.environ.get("COVALENT_DISABLE_DASK")
    with tempfile.TemporaryDirectory() as directory:
        isolate_sdk(Path(directory))
        if executor:
            os.environ["COVALENT_DISABLE_DASK"] = executor
        point_sdk_at(host, int(port))
        measure()


def measure() -> None:
    import covalent as ct
    import requests

    counted = [0]
    send = requests.Session.send

    def counting(self, *args, **kwargs):
        counted[0] += 1
        return send(self, *args, **kwargs)

    requests.Session.send = counting

    @ct.electron
    def increment(value):
        return value + 1

    @ct.lattice
    def fan(first, n):
        return [increment(first + i) for i in range(n)]

    @ct.lattice
    def chain(first, n):
        value = first
        for _ in range(n):
            value = increment(value)
        return value

    def once(workflow, first, n) -> dict[str, float]:
        counted[0] = 0
        began = time.perf_counter()
        dispatch_id = ct.dispatch(workflow)(first, n)
        dispatched, requests_of_dispatch = time.perf_counter(), counted[0]
        result = ct.get_result(dispatch_id, wait=True)
        ended = time.perf_counter()
        wanted = [first + i + 1 for i in range(n)] if workflow is fan else first + n
        assert result.result == wanted, result.error
        return {
            "dispatch s": dispatched - began,
            "get_result s": ended - dispatched,
            "whole s": ended - began,
            "server s": (result.end_time - result.start_time).total_seconds(),
            "requests of dispatch": requests_of_dispatch,
            "requests of get_result": counted[0] - requests_of_dispatch,
        }

    shapes = [("fan", fan, 1), ("fan", fan, 10), ("fan", fan, 50), ("fan", fan, 100)]
    shapes += [("chain", chain, 1), ("chain", chain, 50)]
    once(fan, 10**6, 2)
    print("| shape | run | " + " | ".join(once(chain, 0, 1)) + " |")
    for name, workflow, n in shapes:
        first_start = int(time.time() * 1000) * 1000
        rows = [once(workflow, first_start + 1000 * run, n) for run in range(RUNS)]
        medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print(f"| {name} {n} | median of {RUNS} | " + " | ".join(_cell(v) for v in medians.values()), "|")


def _cell(value: float) -> str:
    return str(int(value)) if value == int(value) and value > 1 else f"{value:.3f}"


if __name__ == "__main__":
    main()
