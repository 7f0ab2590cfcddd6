"""The unmodified Covalent SDK, against Covalent's own server (`covalent`) or against ours (`cov`)."""

import contextlib
import importlib.util
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import peerline
import work

MODE = sys.argv[1]
CLIENTS = 4

FOLDER = peerline.data()
PORT = peerline.free_port()
# What both the SDK and Covalent's server read; it must be there before they are imported.
os.environ.update(
    COVALENT_CONFIG_DIR=str(FOLDER / "config"),
    COVALENT_CACHE_DIR=str(FOLDER / "cache"),
    COVALENT_LOGDIR=str(FOLDER / "cache"),
    COVALENT_DATA_DIR=str(FOLDER / "data"),
    COVALENT_DATABASE=str(FOLDER / "data" / "dispatcher.sqlite"),
    COVALENT_RESULTS_DIR=str(FOLDER / "results"),
    COVALENT_DISPATCH_CACHE_DIR=str(FOLDER / "dispatches"),
    COVALENT_HEARTBEAT_FILE=str(FOLDER / "heartbeat"),
    COVALENT_SVC_PORT=str(PORT),
    COVALENT_DISABLE_DASK="1",
)

import covalent as ct  # noqa: E402


@ct.electron(executor="local")
def nothing(number):
    return number


@ct.electron(executor="local")
def increment(number):
    return number + 1


@ct.electron(executor="local")
def total(numbers):
    return sum(numbers)


@ct.electron(executor="local")
def same(content):
    return content


@ct.lattice(executor="local", workflow_executor="local")
def single_flow(number):
    return increment(number)


@ct.lattice(executor="local", workflow_executor="local")
def chain_flow(n):
    last = 0
    for _ in range(n):
        last = increment(last)
    return last


@ct.lattice(executor="local", workflow_executor="local")
def fan_flow(n):
    return total([nothing(number) for number in range(n)])


@ct.lattice(executor="local", workflow_executor="local")
def same_flow(content):
    return same(content)


class Peer:
    """The SDK is in this process, the server is a child."""

    def __init__(self):
        self.server = None

    def start(self):
        seconds = self.start_ours() if MODE == "cov" else self.start_covalents()
        return {
            "seconds": seconds,
            "pids": [self.server.pid],
            "data": str(FOLDER / ("server" if MODE == "cov" else "data")),
            "versions": peerline.versions(*packages()),
            "settings": "as it comes" if MODE == "cov" else "executor local, --no-cluster",
        }

    def start_ours(self):
        command = [
            str(Path(os.environ["COMPARE_RELEASE"]) / "cov-server"),
            "--listen", f"127.0.0.1:{PORT}",
            "--data-dir", str(FOLDER / "server"),
            "--python", sys.executable,
            "--workers", str(peerline.WORKERS),
            "--log-level", "error",
        ]  # fmt: skip
        begin = time.perf_counter()
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.server.stdout.readline()
        peerline.wait_until_it_answers(f"http://127.0.0.1:{PORT}/healthz")
        return time.perf_counter() - begin

    def start_covalents(self):
        """As `covalent start --no-cluster` does it, after its `covalent db migrate`."""
        for name in ("data", "cache", "results", "dispatches"):
            (FOLDER / name).mkdir(parents=True, exist_ok=True)
        migrate = [str(Path(sys.executable).parent / "covalent"), "db", "migrate"]
        subprocess.run(migrate, check=True, stdout=subprocess.DEVNULL)
        script = Path(importlib.util.find_spec("covalent_ui").origin).parent / "app.py"
        command = [sys.executable, str(script), "--port", str(PORT), "--no-cluster"]
        begin = time.perf_counter()
        self.server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=script.parent, start_new_session=True
        )
        peerline.wait_until_it_answers(f"http://127.0.0.1:{PORT}/api/triggers/status")
        return time.perf_counter() - begin

    def single(self, n):
        begin = time.perf_counter()
        runs = [run(single_flow, number, number + 1) for number in range(n)]
        samples = [one.pop("seconds") for one in runs]
        means = {name: sum(one[name] for one in runs) / n for name in runs[0]}
        return {"seconds": time.perf_counter() - begin, "samples": samples, **means}

    def chain(self, n):
        return run(chain_flow, n, n)

    def fan(self, n):
        return run(fan_flow, n, n * (n - 1) // 2)

    def parallel(self, n):
        """Each client is a process, for the SDK is busy with itself."""
        with multiprocessing.get_context("fork").Pool(CLIENTS) as clients:
            clients.map(abs, range(CLIENTS))
            begin = time.perf_counter()
            clients.map(run_some, [range(first, n, CLIENTS) for first in range(CLIENTS)], chunksize=1)
            return {"seconds": time.perf_counter() - begin}

    def redispatch(self, n):
        first = ct.dispatch(fan_flow)(n)
        work.is_total(n, ct.get_result(first, wait=True).result)
        begin = time.perf_counter()
        dispatch_id = ct.redispatch(first, reuse_previous_results=True)()
        return wait(begin, time.perf_counter(), dispatch_id, n * (n - 1) // 2)

    def big(self, n):
        content = os.urandom(n * 1_000_000)
        begin = time.perf_counter()
        dispatch_id = ct.dispatch(same_flow)(content)
        return wait(begin, time.perf_counter(), dispatch_id, content)

    def stop(self):
        if self.server is None:
            return
        if MODE == "cov":
            self.server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.server.wait(20)
        else:
            peerline.end_group(self.server)


def packages():
    return ["covalent"] if MODE == "cov" else ["covalent", "fastapi", "pydantic", "SQLAlchemy", "distributed"]


def run_some(numbers):
    for number in numbers:
        run(single_flow, number, number + 1)


def run(lattice, argument, expected):
    begin = time.perf_counter()
    dispatch_id = ct.dispatch(lattice)(argument)
    return wait(begin, time.perf_counter(), dispatch_id, expected)


def wait(begin, dispatched, dispatch_id, expected):
    """The figures of a dispatch once its result is here; that of the server is from its own clock."""
    result = ct.get_result(dispatch_id, wait=True)
    end = time.perf_counter()
    if str(result.status) != "COMPLETED":
        raise RuntimeError(f"{result.status}: {result.error}")
    work.expect(expected, result.result)
    return {
        "seconds": end - begin,
        "client_s": dispatched - begin,
        "server_s": (result.end_time - result.start_time).total_seconds(),
        "get_result_s": end - dispatched,
    }


if __name__ == "__main__":
    peerline.serve(Peer())
