"""Dask distributed: a scheduler and two workers with one thread each, as processes of their own."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from distributed import Client

import peerline
import work

CLIENTS = 4


class Peer:
    """The client is in this process; scheduler and workers are children in groups of their own."""

    unsupported = {"redispatch": "a result is known while a future of it is held; there are no dispatches to send again"}

    def __init__(self):
        self.processes = []
        self.client = None

    def start(self):
        begin = time.perf_counter()
        port = peerline.free_port()
        self.spawn("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        self.address = f"tcp://127.0.0.1:{port}"
        for number in range(peerline.WORKERS):
            folder = peerline.data() / f"worker{number}"
            self.spawn(
                "worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--nworkers", "1", "--no-dashboard",
                "--local-directory", str(folder),
            )  # fmt: skip
        self.client = Client(self.address, timeout=60, set_as_default=False)
        self.client.wait_for_workers(peerline.WORKERS, timeout=60)
        work.expect(1, self.increment(self.client, 0))
        return {
            "seconds": time.perf_counter() - begin,
            "pids": [process.pid for process in self.processes],
            "data": str(peerline.data()),
            "versions": peerline.versions("distributed"),
            "settings": f"a scheduler and {peerline.WORKERS} workers with one thread each, no dashboard",
        }

    def spawn(self, *arguments):
        program = str(Path(sys.executable).parent / "dask")
        output = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        self.processes.append(subprocess.Popen([program, *arguments], start_new_session=True, **output))

    @staticmethod
    def increment(client, number):
        return client.submit(work.increment, number, pure=False).result()

    def single(self, n):
        samples = []
        for number in range(n):
            begin = time.perf_counter()
            work.expect(number + 1, self.increment(self.client, number))
            samples.append(time.perf_counter() - begin)
        return {"samples": samples}

    def chain(self, n):
        last = 0
        for _ in range(n):
            last = self.client.submit(work.increment, last, pure=False)
        work.expect(n, last.result())

    def fan(self, n):
        all_of_them = self.client.map(work.nothing, range(n), pure=False)
        work.is_total(n, self.client.submit(work.total, all_of_them, pure=False).result())

    def parallel(self, n):
        clients = [Client(self.address, set_as_default=False) for _ in range(CLIENTS)]

        def run(client, numbers):
            for number in numbers:
                work.expect(number + 1, self.increment(client, number))

        threads = [
            threading.Thread(target=run, args=(client, range(first, n, CLIENTS)))
            for first, client in enumerate(clients)
        ]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - begin
        for client in clients:
            client.close()
        return {"seconds": seconds}

    def big(self, n):
        content = os.urandom(n * 1_000_000)
        begin = time.perf_counter()
        returned = self.client.submit(work.same, content, pure=False).result()
        seconds = time.perf_counter() - begin
        work.is_same(content, returned)
        return {"seconds": seconds}

    def stop(self):
        if self.client is not None:
            self.client.close()
        for process in reversed(self.processes):
            peerline.end_group(process)


if __name__ == "__main__":
    peerline.serve(Peer())
