"""Ray on this machine alone: what `ray.init` starts, with two processors."""

import os
import tempfile
import threading
import time

import ray

import peerline
import work

CLIENTS = 4

nothing = ray.remote(work.nothing)
increment = ray.remote(work.increment)
same = ray.remote(work.same)


@ray.remote
def total(*numbers):
    """Ray waits for results among the arguments themselves, not for those in a list."""
    return sum(numbers)


class Peer:
    """The driver is in this process, and so is a part of the server; all the rest are its children."""

    unsupported = {"redispatch": "a result is known while a reference to it is held; there are no dispatches to send again"}

    def start(self):
        # Its sockets have long names, so it needs a folder with a short one.
        self.folder = tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True)
        begin = time.perf_counter()
        ray.init(
            num_cpus=peerline.WORKERS,
            include_dashboard=False,
            _temp_dir=self.folder.name,
            log_to_driver=False,
            configure_logging=False,
        )
        work.expect(1, ray.get(increment.remote(0)))
        return {
            "seconds": time.perf_counter() - begin,
            "pids": [os.getpid()],
            "data": self.folder.name,
            "versions": peerline.versions("ray"),
            "settings": f"num_cpus={peerline.WORKERS}, no dashboard",
        }

    def single(self, n):
        samples = []
        for number in range(n):
            begin = time.perf_counter()
            work.expect(number + 1, ray.get(increment.remote(number)))
            samples.append(time.perf_counter() - begin)
        return {"samples": samples}

    def chain(self, n):
        last = 0
        for _ in range(n):
            last = increment.remote(last)
        work.expect(n, ray.get(last))

    def fan(self, n):
        work.is_total(n, ray.get(total.remote(*[nothing.remote(number) for number in range(n)])))

    def parallel(self, n):
        def run(numbers):
            for number in numbers:
                work.expect(number + 1, ray.get(increment.remote(number)))

        threads = [threading.Thread(target=run, args=(range(first, n, CLIENTS),)) for first in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def big(self, n):
        content = os.urandom(n * 1_000_000)
        begin = time.perf_counter()
        returned = ray.get(same.remote(content))
        seconds = time.perf_counter() - begin
        work.is_same(content, returned)
        return {"seconds": seconds}

    def stop(self):
        ray.shutdown()
        self.folder.cleanup()


if __name__ == "__main__":
    peerline.serve(Peer())
