"""What the unmodified SDK and the server take for the shapes that users have; prints two tables.

    python benches/sdk/measure.py --server target/release/cov-server
    python benches/sdk/measure.py --address localhost:48008 --rows one,fan100

The interpreter must have `covalent` 0.240.0. `--server` starts a server of this project with an empty data
folder and stops it afterwards; `--address` takes any server that speaks Covalent's protocol, and then the
columns that need this project's metrics stay empty. The SDK is not changed: its requests are counted where
`requests` sends them, so that the time of a request is what its caller waits, connection included.

Not a test: it asserts only that the results are right. Medians of `--runs`; the load of the machine is
printed with them, since they mean little on a busy one.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "sdk"))
from harness import Server, isolate_sdk, point_sdk_at  # noqa: E402

MEGABYTE = 1_000_000
HEX = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
METRIC = re.compile(r"^(\w+)\{(.*)\} (\S+)$")


class Sent:
    """Counts what `requests` sends in this process."""

    def __init__(self) -> None:
        import requests

        self.clear()
        send = requests.Session.send

        def counting(session, request, **options):
            began = time.perf_counter()
            response = send(session, request, **options)
            self.note(request, response, time.perf_counter() - began)
            return response

        requests.Session.send = counting

    def clear(self) -> None:
        self.count: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.out: Counter[str] = Counter()
        self.back: Counter[str] = Counter()

    def note(self, request, response, seconds: float) -> None:
        path = request.path_url.partition("?")[0]
        kind = f"{request.method} " + ("/api/v0/files" if "/files/" in path else HEX.sub("{id}", path))
        self.count[kind] += 1
        self.seconds[kind] += seconds
        self.out[kind] += int(request.headers.get("Content-Length") or 0)
        self.back[kind] += int(response.headers.get("Content-Length") or 0)

    def total(self) -> int:
        return sum(self.count.values())


class Watched:
    """The server's own account: seconds in handlers, processor time, memory, disk."""

    def __init__(self, url: str, server: Server | None) -> None:
        self.url, self.server = url, server

    def handlers(self) -> dict[str, tuple[float, float]]:
        """Seconds and number of requests per route; empty for a server without these metrics."""
        try:
            with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        found: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for line in text.splitlines():
            match = METRIC.match(line)
            if match and match[1].startswith("cov_http_request_duration_seconds_"):
                labels = dict(part.split("=", 1) for part in match[2].split(",") if "=" in part)
                route = f"{labels['method']} {labels['route']}".replace('"', "")
                if match[1].endswith("_sum"):
                    found[route][0] += float(match[3])
                elif match[1].endswith("_count"):
                    found[route][1] += float(match[3])
        return {route: (seconds, count) for route, (seconds, count) in found.items()}

    def cpu_s(self) -> float:
        """Processor seconds of the server and what it started."""
        if self.server is None:
            return 0.0
        tick = os.sysconf("SC_CLK_TCK")
        total = 0
        for pid in [self.server.pid, *descendants(self.server.pid)]:
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += int(fields[11]) + int(fields[12])
        return total / tick

    def rss_mb(self, which: str = "VmRSS") -> float:
        """Memory of the server process alone."""
        if self.server is None:
            return 0.0
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        return int(re.search(rf"{which}:\s+(\d+)", status)[1]) / 1024

    def disk_mb(self) -> float:
        if self.server is None:
            return 0.0
        files = (path for path in self.server.data_dir.rglob("*") if path.is_file())
        return sum(path.stat().st_blocks * 512 for path in files) / MEGABYTE


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


class Bench:
    """The shapes. Each method is one run and returns its figures."""

    def __init__(self, sent: Sent, watched: Watched) -> None:
        import covalent as ct

        self.ct, self.sent, self.watched = ct, sent, watched
        self.fresh = int(time.time() * 1000) * 10_000

    def values(self, count: int) -> range:
        """Numbers that no run of this or an earlier process has used."""
        self.fresh += count
        return range(self.fresh - count, self.fresh)

    def workflow(self, marker: object = 0):
        """A fan; another marker makes its functions, and their texts, contents of their own."""
        ct = self.ct
        source = (
            "def increment(value):\n"
            f"    assert value != 'marker {marker}'\n"
            "    return value + 1\n"
        )
        space: dict = {}
        # `inspect` finds the text of a function only in a file.
        with tempfile.NamedTemporaryFile("w", suffix=".py", delete=False) as file:
            file.write(source)
        exec(compile(source, file.name, "exec"), space)
        increment = ct.electron(space["increment"])
        os.unlink(file.name)

        @ct.lattice
        def fan(values):
            return [increment(value) for value in values]

        return fan

    def dispatched(self, workflow, values) -> dict[str, float]:
        """One dispatch through to its result."""
        ct = self.ct
        self.sent.clear()
        began, own = time.perf_counter(), time.process_time()
        dispatch_id = ct.dispatch(workflow)(values)
        in_dispatch, own_of_dispatch = time.perf_counter() - began, time.process_time() - own
        sent = self.sent.total()
        result = ct.get_result(dispatch_id, wait=True)
        whole, own = time.perf_counter() - began, time.process_time() - own
        assert result.result == [value + 1 for value in values], result.error
        self.latest = dispatch_id
        return {
            "whole ms": whole * 1e3,
            "dispatch ms": in_dispatch * 1e3,
            "get_result ms": (whole - in_dispatch) * 1e3,
            "client CPU ms": own * 1e3,
            "of dispatch ms": own_of_dispatch * 1e3,
            "start to end ms": (result.end_time - result.start_time).total_seconds() * 1e3,
            "requests": self.sent.total(),
            "of dispatch": sent,
            "in requests ms": sum(self.sent.seconds.values()) * 1e3,
        }

    def one(self) -> dict[str, float]:
        if not hasattr(self, "single"):
            self.single = self.workflow()
            self.dispatched(self.single, list(self.values(1)))
        return self.dispatched(self.single, list(self.values(1)))

    def one_first(self) -> dict[str, float]:
        return self.dispatched(self.workflow(self.values(1)), list(self.values(1)))

    def fan50(self) -> dict[str, float]:
        workflow = self.workflow(self.values(1))
        return self.dispatched(workflow, list(self.values(50)))

    def fan100(self) -> dict[str, float]:
        workflow = self.workflow(self.values(1))
        return self.dispatched(workflow, list(self.values(100)))

    def again100(self) -> dict[str, float]:
        """All of it a second time, with the results of the first."""
        ct = self.ct
        if not hasattr(self, "to_repeat"):
            self.dispatched(self.workflow(), list(self.values(100)))
            self.to_repeat = self.latest
        self.sent.clear()
        began = time.perf_counter()
        dispatch_id = ct.redispatch(self.to_repeat, reuse_previous_results=True)()
        in_dispatch = time.perf_counter() - began
        registering = self.sent.seconds["POST /api/v2/dispatches/{id}/redispatches"]
        starting = self.sent.seconds["PUT /api/v2/dispatches/{id}/status"]
        result = ct.get_result(dispatch_id, wait=True)
        running = (result.end_time - result.start_time).total_seconds()
        return {
            "whole ms": (time.perf_counter() - began) * 1e3,
            "dispatch ms": in_dispatch * 1e3,
            "start to end ms": running * 1e3,
            "server ms": (registering + starting + running) * 1e3,
            "register ms": registering * 1e3,
            "requests": self.sent.total(),
        }

    def big(self, megabytes: int = 50) -> dict[str, float]:
        """Random bytes in and out; they are new in every run."""
        ct = self.ct

        @ct.electron
        def passed(data):
            return data

        @ct.lattice
        def through(data):
            return passed(data)

        disk = self.watched.disk_mb()
        data = os.urandom(megabytes * MEGABYTE)
        self.sent.clear()
        began = time.perf_counter()
        dispatch_id = ct.dispatch(through)(data)
        in_dispatch = time.perf_counter() - began
        result = ct.get_result(dispatch_id, wait=True)
        whole = time.perf_counter() - began
        assert result.result == data
        return {
            "whole ms": whole * 1e3,
            "dispatch ms": in_dispatch * 1e3,
            "start to end ms": (result.end_time - result.start_time).total_seconds() * 1e3,
            "PUT files ms": self.sent.seconds["PUT /api/v0/files"] * 1e3,
            "requests": self.sent.total(),
            "RSS MB": self.watched.rss_mb(),
            "peak RSS MB": self.watched.rss_mb("VmHWM"),
            "disk MB": self.watched.disk_mb() - disk,
        }

    def big5(self) -> dict[str, float]:
        return self.big(5)


ROWS = ["one_first", "one", "fan50", "fan100", "again100", "big5", "big"]


def describe(sent: Sent, _watched: Watched) -> str:
    kinds = sorted(sent.count, key=lambda kind: -sent.seconds[kind])
    return "; ".join(
        f"{sent.count[kind]} {kind} {sent.seconds[kind] * 1e3:.1f} ms "
        f"({sent.out[kind]} out, {sent.back[kind]} back)"
        for kind in kinds
    )


def measure(bench: Bench, rows: list[str], runs: int, detail: bool) -> None:
    for row in rows:
        few = 3 if row == "big" else runs
        before = bench.watched.handlers()
        cpu, own = bench.watched.cpu_s(), time.process_time()
        bench_once = getattr(bench, row)
        taken = [bench_once() for _ in range(few)]
        cpu, own = bench.watched.cpu_s() - cpu, time.process_time() - own
        print(f"\n{row}: median of {few} (range), load {os.getloadavg()[0]:.2f}")
        for key in taken[0]:
            column = [figures[key] for figures in taken]
            low, high = min(column), max(column)
            print(f"  {key:<16} {statistics.median(column):10.1f}  ({low:.1f}-{high:.1f})")
        print(f"  {'CPU of client':<16} {own / few * 1e3:10.1f} ms a run")
        if bench.watched.server:
            print(f"  {'CPU of server':<16} {cpu / few * 1e3:10.1f} ms a run, runners included")
        if detail:
            print("  latest run:", describe(bench.sent, bench.watched))
            for route, (seconds, count) in sorted(bench.watched.handlers().items()):
                seconds -= before.get(route, (0, 0))[0]
                count -= before.get(route, (0, 0))[1]
                if count:
                    print(f"  {route:<60} {count / few:8.1f} a run, {seconds / count * 1e6:9.0f} us each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--server", help="a server of this project, to be started")
    where.add_argument("--address", help="host:port of a server that runs")
    parser.add_argument("--host", default="localhost", help="what the SDK calls a started server")
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--detail", action="store_true", help="requests and handlers of each row")
    given = parser.parse_args()
    local = os.environ.get("COVALENT_DISABLE_DASK")
    with tempfile.TemporaryDirectory(prefix="cov-measure-") as folder:
        isolate_sdk(Path(folder) / "user")
        if local or given.server:
            os.environ["COVALENT_DISABLE_DASK"] = local or "1"
        server = Server(given.server, Path(folder) / "server").start() if given.server else None
        host, port = (given.host, server.port) if server else given.address.rsplit(":", 1)
        point_sdk_at(host, int(port))
        try:
            sent = Sent()
            watched = Watched(f"http://{host}:{port}", server)
            measure(Bench(sent, watched), given.rows.split(","), given.runs, given.detail)
        finally:
            if server:
                server.stop()


if __name__ == "__main__":
    main()
