"""The soak: half of what a server can do, for minutes or hours. What grows that should not?

One process drives the unmodified Covalent SDK, threads speak the native API over connections that stay open. First
the most that the server does is measured with clients that never pause; then they keep to half of that. Memory,
descriptors and latency of the first and the last part of the run are compared, and at the end, with nothing to do,
the server must not write.

Exit code 0 when nothing grew, 1 with the reasons when something did.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sdk"))

CLIENTS = 8
WIDTH = 4
CALIBRATION_S = 10
SAMPLE_S = 1.0
# The part of the run that counts as its begin, and as its end. What comes before the first is warming up.
WARM_UP, PART = 0.1, 0.15
IDLE_S = 10.0
SETTLE_S = 5.0
# What may be different at the end: a tenth, and a little for what a short run cannot tell apart. In memory, also what
# the server keeps at hand and bounds: the rows of 65,536 dispatches, and the pages of five connections to SQLite.
GROWTH_MAX, MEMORY_SLACK, FILES_SLACK = 0.10, (8 + 10 + 10) << 20, 12
# What has filled up does not grow any more: between these two parts of a long run.
LATE, LATE_GROWTH_MAX, LATE_SLACK, LATE_FROM_S = 0.7, 0.02, 1 << 20, 1500.0
LATENCY_FACTOR_MAX = 2.0


@dataclass
class Sample:
    """The server at one moment."""

    at: float
    memory: float
    files: float
    cpu: float
    database: float
    contents: float
    ended: float


@dataclass
class Account:
    """What clients have seen. Several threads write to it."""

    latencies: list[tuple[float, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Native:
    """A connection of the native API that stays open."""

    def __init__(self, address: str) -> None:
        self.connection = http.client.HTTPConnection(address, timeout=60)

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        self.connection.request(method, path, body)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:200]!r}")
        return text

    def run_again(self, original: str) -> None:
        """Dispatches a workflow once more and waits for its end."""
        made = json.loads(self.ask("POST", f"/api/v3/dispatches/{original}/redispatch"))
        path = f"/api/v3/dispatches/{made['dispatch_id']}?wait=30"
        shown = json.loads(self.ask("GET", path))
        if shown["status"] != "COMPLETED":
            raise RuntimeError(f"{made['dispatch_id']} is {shown['status']}")


def sample(address: str) -> Sample:
    wanted = {
        "process_resident_memory_bytes": "memory",
        "process_open_fds": "files",
        "process_cpu_seconds_total": "cpu",
        "cov_store_database_bytes": "database",
        "cov_store_contents_bytes": "contents",
        'cov_dispatches_ended_total{status="completed"}': "ended",
    }
    found = {"at": time.monotonic()}
    for line in Native(address).ask("GET", "/metrics").decode().splitlines():
        series, _, value = line.rpartition(" ")
        if series in wanted:
            found[wanted[series]] = float(value)
    return Sample(**found)


def keep_running(address: str, original: str, rate: float | None, until: float, account: Account) -> None:
    """Runs the workflow until `until`: without a pause, or `rate` times a second."""
    client = Native(address)
    due = time.monotonic()
    while (now := time.monotonic()) < until:
        if rate:
            if now < due:
                time.sleep(min(due - now, until - now))
                continue
            due = max(due + 1 / rate, now - 1)
        try:
            client.run_again(original)
            ended = time.monotonic()
            # From when it should have begun: a server that stalls does not hide what it holds up.
            account.latencies.append((ended, ended - (due - 1 / rate if rate else now)))
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            account.faults.append(str(error))
            client = Native(address)


def drive(address: str, original: str, rate: float | None, seconds: float, watch=None) -> Account:
    account, until = Account(), time.monotonic() + seconds
    each = rate / CLIENTS if rate else None
    arguments = (address, original, each, until, account)
    threads = [threading.Thread(target=keep_running, args=arguments) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
        if each:
            # Spread over the interval, so that they do not all come at once.
            time.sleep(1 / each / CLIENTS)
    while watch and time.monotonic() < until:
        watch()
        time.sleep(SAMPLE_S)
    for thread in threads:
        thread.join()
    return account


SDK_CLIENT = """
import sys, time
import covalent as ct

@ct.electron
def double(number):
    return 2 * number

@ct.lattice
def fan(width):
    return [double(number) for number in range(width)]

width = int(sys.argv[1])
first = ct.dispatch(fan)(width)
assert ct.get_result(first, wait=True).result == [2 * number for number in range(width)]
print(first, flush=True)
until, pause, done = time.monotonic() + float(sys.argv[2]), float(sys.argv[3]), 0
while time.monotonic() < until:
    result = ct.get_result(ct.dispatch(fan)(width), wait=True)
    assert result.result == [2 * number for number in range(width)], result
    done += 1
    time.sleep(pause)
print(done, flush=True)
"""


def sdk_client(server, seconds: float, pause: float) -> subprocess.Popen:
    environment = {**os.environ, "COVALENT_DISPATCHER_ADDR": server.host, "COVALENT_SVC_PORT": str(server.port)}
    command = [sys.executable, "-c", SDK_CLIENT, str(WIDTH), str(seconds), str(pause)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def median(samples: list[Sample], name: str) -> float:
    return quantile([getattr(one, name) for one in samples], 0.5)


def written(pid: int) -> int:
    """Bytes that the process has had written to a disk."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes:")))


def report(samples: list[Sample], account: Account, most: float, idle: int) -> list[str]:
    """Prints the table; returns what grew."""
    begin, end = samples[0].at, samples[-1].at
    length = end - begin

    def part(name: str, share: float):
        low, high = begin + share * length, begin + (share + PART) * length
        of_part = [one for one in samples if low <= one.at <= high]
        waits = [took for at, took in account.latencies if low <= at <= high]
        return {
            "memory": median(of_part, "memory"),
            "files": median(of_part, "files"),
            "p50": quantile(waits, 0.5),
            "p99": quantile(waits, 0.99),
        }

    first, late, last = part("begin", WARM_UP), part("late", LATE), part("end", 1 - PART)
    ended = samples[-1].ended - samples[0].ended
    rows = [
        ("resident memory, MiB", "memory", 1 << 20),
        ("open descriptors", "files", 1),
        ("dispatch to end, p50, ms", "p50", 1e-3),
        ("dispatch to end, p99, ms", "p99", 1e-3),
    ]
    print(f"{'':<32}{'begin':>10}{'end':>10}")
    for title, name, unit in rows:
        print(f"{title:<32}{first[name] / unit:>10.1f}{last[name] / unit:>10.1f}")
    grown = samples[-1].database - samples[0].database, samples[-1].contents - samples[0].contents
    print(f"{'... after 70 and 85 of 100':<32}{late['memory'] / (1 << 20):>10.1f}{last['memory'] / (1 << 20):>10.1f}")
    print(f"{'seconds':<32}{length:>20.0f}")
    print(f"{'most dispatches a second':<32}{most:>20.1f}")
    print(f"{'dispatches a second in the run':<32}{ended / length:>20.1f}")
    print(f"{'tasks a second in the run':<32}{WIDTH * ended / length:>20.1f}")
    print(f"{'processors':<32}{(samples[-1].cpu - samples[0].cpu) / length:>20.2f}")
    print(f"{'database, bytes a dispatch':<32}{grown[0] / max(ended, 1):>20.0f}")
    print(f"{'contents, bytes a dispatch':<32}{grown[1] / max(ended, 1):>20.0f}")
    print(f"{'bytes written in ' + str(IDLE_S) + ' s of rest':<32}{idle:>20}")
    print(f"{'faults':<32}{len(account.faults):>20}")

    found = [f"a client met a fault: {fault}" for fault in account.faults[:5]]
    for name, slack in (("memory", MEMORY_SLACK), ("files", FILES_SLACK)):
        if last[name] > first[name] * (1 + GROWTH_MAX) + slack:
            found.append(f"{name} grew from {first[name]:.0f} to {last[name]:.0f}")
    if length >= LATE_FROM_S and last["memory"] > late["memory"] * (1 + LATE_GROWTH_MAX) + LATE_SLACK:
        found.append(f"memory still grows at the end: from {late['memory']:.0f} to {last['memory']:.0f}")
    if last["p99"] > first["p99"] * LATENCY_FACTOR_MAX + 0.05:
        found.append(f"p99 grew from {first['p99']:.3f} s to {last['p99']:.3f} s")
    if idle:
        found.append(f"{idle} bytes were written while there was nothing to do")
    return found


def soak(binary: str, minutes: float, root: Path) -> list[str]:
    from harness import Server, isolate_sdk

    isolate_sdk(root / "user")
    server = Server(binary, root / "server", workers=2).start()
    address = f"{server.host}:{server.port}"
    seconds = 60 * minutes
    sdk = sdk_client(server, seconds + CALIBRATION_S, pause=1.0)
    try:
        original = sdk.stdout.readline().strip()
        most = len(drive(address, original, None, CALIBRATION_S).latencies) / CALIBRATION_S
        if not most:
            return ["nothing was run while the server was measured"]
        samples: list[Sample] = [sample(address)]
        account = drive(address, original, most / 2, seconds, lambda: samples.append(sample(address)))
        said, _ = sdk.communicate(timeout=120)
        time.sleep(SETTLE_S)
        before = written(server.pid)
        time.sleep(IDLE_S)
        idle = written(server.pid) - before
        found = report(samples, account, most, idle)
        if sdk.returncode != 0:
            found.append(f"the SDK's client ended with {sdk.returncode}")
        print(f"{'dispatches by the SDK':<32}{said.strip():>20}")
        if server.stop() != 0 or server.panics():
            found.append("the server did not stop in order")
        return found
    finally:
        sdk.kill()
        if server.alive():
            server.kill9()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="the program cov-server")
    parser.add_argument("--minutes", type=float, default=30.0)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="cov-soak-"))
    try:
        found = soak(options.server, options.minutes, root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    for reason in found:
        print(f"soak: {reason}")
    print("soak: nothing grew" if not found else f"soak: {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
