"""Parsl with threads of this process, or with worker processes (`htex`)."""

import os
import sys
import threading
import time

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider

import peerline
import work

MODE = sys.argv[1]

nothing = parsl.python_app(work.nothing)
increment = parsl.python_app(work.increment)
same = parsl.python_app(work.same)


@parsl.python_app
def total(inputs=()):
    """Parsl looks for results to wait for in a list of this name only."""
    return sum(inputs)


class Peer:
    """Everything is in this process, and with `htex` in the processes that it starts."""

    unsupported = {"redispatch": "its memoization is per app and call; there are no dispatches to send again"}

    def start(self):
        """Ready when a first task has its result, for the workers of `htex` connect on their own."""
        begin = time.perf_counter()
        parsl.load(config())
        work.expect(1, increment(0).result())
        return {
            "seconds": time.perf_counter() - begin,
            "pids": [os.getpid()],
            "data": str(peerline.data()),
            "versions": peerline.versions("parsl"),
            "settings": f"{MODE}, {peerline.WORKERS} workers, no retries, no monitoring",
        }

    def single(self, n):
        samples = []
        for number in range(n):
            begin = time.perf_counter()
            work.expect(number + 1, increment(number).result())
            samples.append(time.perf_counter() - begin)
        return {"samples": samples}

    def chain(self, n):
        last = 0
        for _ in range(n):
            last = increment(last)
        work.expect(n, last.result())

    def fan(self, n):
        work.is_total(n, total(inputs=[nothing(number) for number in range(n)]).result())

    def parallel(self, n):
        def client(numbers):
            for number in numbers:
                work.expect(number + 1, increment(number).result())

        clients = [threading.Thread(target=client, args=(range(start, n, 4),)) for start in range(4)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()

    def big(self, n):
        content = os.urandom(n * 1_000_000)
        begin = time.perf_counter()
        returned = same(content).result()
        seconds = time.perf_counter() - begin
        work.is_same(content, returned)
        return {"seconds": seconds}

    def stop(self):
        parsl.dfk().cleanup()


def config():
    folder = str(peerline.data() / "runinfo")
    if MODE == "threads":
        executor = ThreadPoolExecutor(max_threads=peerline.WORKERS)
    else:
        executor = HighThroughputExecutor(
            max_workers_per_node=peerline.WORKERS,
            cores_per_worker=1,
            address="127.0.0.1",
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        )
    return Config(executors=[executor], run_dir=folder, retries=0, usage_tracking=0)


if __name__ == "__main__":
    peerline.serve(Peer())
