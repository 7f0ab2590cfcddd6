"""The kill ledger: workflows whose tasks write down that they ran, on a server that is killed again and again.

Drives the unmodified Covalent SDK. Every task appends its key to a ledger when it begins and when it
ends; the server and single runners are killed (SIGKILL) or frozen (SIGSTOP, later SIGCONT) at random
moments; an observer writes down what the API shows. At the end the three accounts are compared:

lost         a dispatch that was acknowledged and is gone, did not complete, or lacks a key in the ledger
stuck        a dispatch that does not end
repeated     a task that began again after the API had shown it COMPLETED, or more often than
             1 + the kills during its dispatch's life
overwritten  an output, or a terminal status, that the API showed and later showed differently

All must be 0. The same seed makes the same workflows and the same plan of kills.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import queue
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from servers import Killed, Server, api

SHAPES = ("chain", "fan", "diamond", "sublattice")
DRIVERS = 3
QUIET_LIMIT_S = 90.0


@dataclass
class Seen:
    """What the API has shown of one dispatch."""

    shape: str
    acknowledged_at: float
    ended_at: float | None = None
    status: str = "NEW_OBJECT"
    completed_at: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    overwritten: list[str] = field(default_factory=list)


def drive(number: int, count: int, seed: int, address: str, home: str, ledger: str, told) -> None:
    """One client process: dispatches `count` workflows, and tells which the server acknowledged."""
    host, port = address.removeprefix("http://").split(":")
    os.environ.update(
        HOME=home,
        COVALENT_CONFIG_DIR=f"{home}/config-{number}",
        COVALENT_CACHE_DIR=f"{home}/cache-{number}",
        COVALENT_RESULTS_DIR=f"{home}/results-{number}",
        COVALENT_DISPATCHER_ADDR=host,
        COVALENT_SVC_PORT=port,
    )
    import covalent as ct
    import requests

    from workflows import build

    chance = random.Random(seed * 1_000 + number)
    for index in range(count):
        shape = chance.choice(SHAPES)
        pace = chance.choice((0.0, 0.01, 0.05, 0.2))
        for attempt in range(1_000):
            tag = f"{number}-{index}-{attempt}"
            try:
                dispatch_id = ct.dispatch(build(shape))(tag, pace, ledger)
            except requests.RequestException:
                # Not acknowledged, so nothing is owed; the server is down or was killed meanwhile.
                time.sleep(0.05)
                continue
            told.put((dispatch_id, shape, tag, time.time()))
            break
    told.put(None)


class Observer(threading.Thread):
    """Writes down what the API shows, until told to stop."""

    def __init__(self, address: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.address, self.chance = address, random.Random(seed + 7)
        self.seen: dict[str, Seen] = {}
        self.tags: dict[str, str] = {}
        self.ended = threading.Event()

    def acknowledge(self, dispatch_id: str, shape: str, tag: str, at: float) -> None:
        self.tags[dispatch_id] = tag
        self.seen[dispatch_id] = Seen(shape, at)

    def run(self) -> None:
        while not self.ended.is_set():
            open_ones = [i for i, seen in list(self.seen.items()) if seen.ended_at is None]
            ended_ones = [i for i, seen in list(self.seen.items()) if seen.ended_at is not None]
            again = self.chance.sample(ended_ones, min(3, len(ended_ones)))
            for dispatch_id in open_ones + again:
                self.look(dispatch_id)
            self.ended.wait(0.05)

    def look(self, dispatch_id: str) -> None:
        """Takes down one export. A server that is down shows nothing."""
        asked = time.time()
        status, manifest = api(self.address, f"/api/v2/dispatches/{dispatch_id}")
        if status is None or status >= 500:
            return
        seen = self.seen[dispatch_id]
        if status == 404:
            seen.overwritten.append("the dispatch is gone")
            seen.ended_at = seen.ended_at or asked
            return
        self.compare(seen, manifest)

    def compare(self, seen: Seen, manifest: dict) -> None:
        shown = manifest["metadata"]["status"]
        now = time.time()
        if seen.ended_at is not None and shown != seen.status:
            seen.overwritten.append(f"status {seen.status} became {shown}")
        seen.status = shown
        if shown in ("COMPLETED", "FAILED", "CANCELLED"):
            seen.ended_at = seen.ended_at or now
        for node in manifest["lattice"]["transport_graph"]["nodes"]:
            if node["metadata"]["status"] != "COMPLETED":
                if str(node["id"]) in seen.completed_at:
                    seen.overwritten.append(f"node {node['id']} was COMPLETED")
                continue
            digest = node["assets"]["output"]["digest"]
            first = seen.outputs.setdefault(str(node["id"]), digest)
            if first != digest:
                seen.overwritten.append(f"node {node['id']}'s output changed")
            seen.completed_at.setdefault(str(node["id"]), now)

    def open_count(self) -> int:
        return sum(seen.ended_at is None for seen in self.seen.values())


def read_ledger(path: Path) -> dict[str, list[tuple[str, str, float]]]:
    """Tag -> (key, begin or end, time), in the order of writing."""
    entries: dict[str, list[tuple[str, str, float]]] = {}
    for line in path.read_text().splitlines():
        tag, key, what, at = line.split()
        entries.setdefault(tag, []).append((key, what, float(at)))
    return entries


def judge(observer: Observer, ledger: Path, kills: list[Killed], expected: dict[str, set[str]]) -> dict:
    """Compares the accounts."""
    entries = read_ledger(ledger)
    report: dict[str, list[str]] = {"lost": [], "stuck": [], "repeated": [], "overwritten": []}
    for dispatch_id, seen in observer.seen.items():
        tag = observer.tags[dispatch_id]
        named = f"{dispatch_id} ({seen.shape}, {tag})"
        report["overwritten"] += [f"{named}: {what}" for what in seen.overwritten]
        if seen.ended_at is None:
            report["stuck"].append(f"{named}: {seen.status}")
            continue
        own = entries.get(tag, [])
        ends = {key for key, what, _ in own if what == "end"}
        missing = expected[seen.shape] - ends
        if seen.status != "COMPLETED" or missing:
            report["lost"].append(f"{named}: {seen.status}, missing {sorted(missing)}")
        report["repeated"] += [f"{named}: {what}" for what in repetitions(own, seen, kills)]
    return report


def repetitions(own: list[tuple[str, str, float]], seen: Seen, kills: list[Killed]) -> list[str]:
    """Tasks that began too often, or after the whole dispatch was shown complete."""
    during = sum(seen.acknowledged_at - 5 <= kill.at <= (seen.ended_at or time.time()) for kill in kills)
    begins = Counter(key for key, what, _ in own if what == "begin")
    wrong = [f"{key} began {n} times, {during} kills" for key, n in begins.items() if n > 1 + during]
    shown = {key: seen.completed_at[node] for key, node in node_of_key(own, seen).items()}
    for key, what, at in own:
        if what == "begin" and key in shown and at > shown[key] + 0.001:
            wrong.append(f"{key} began after the API had shown it COMPLETED")
    return wrong


def node_of_key(own: list[tuple[str, str, float]], seen: Seen) -> dict[str, str]:
    """Which node wrote which key. Keys are `<node id>` where a task knows it."""
    return {key: key[1:] for key, _, _ in own if key.startswith("n") and key[1:] in seen.completed_at}


def plan_kills(chance: random.Random, count: int) -> list[str]:
    """Mostly the server, now and then a runner, now and then a runner that is only frozen."""
    return chance.choices(("server", "runner", "freeze"), weights=(7, 2, 1), k=count)


def kill_on_plan(server: Server, plan: list[str], chance: random.Random, observer: Observer, drivers) -> None:
    """Carries out the plan while there is work; what is left when the work ends is left out."""
    for what in plan:
        time.sleep(chance.uniform(0.05, 0.9))
        if not observer.open_count() and not any(driver.is_alive() for driver in drivers):
            return
        server.strike(what, down_s=chance.uniform(0.0, 0.3), frozen_s=chance.uniform(0.5, 2.0))


def collect(told, drivers, observer: Observer, done: threading.Event) -> None:
    """Hands every acknowledged dispatch to the observer; ends with the last driver."""
    open_drivers = len(drivers)
    while open_drivers:
        try:
            item = told.get(timeout=1.0)
        except queue.Empty:
            if not any(driver.is_alive() for driver in drivers):
                break
            continue
        if item is None:
            open_drivers -= 1
        else:
            observer.acknowledge(*item)
    done.set()


def wait_for_rest(observer: Observer) -> None:
    """Waits until everything has ended, or nothing has ended for a long time."""
    latest, since = observer.open_count(), time.time()
    while observer.open_count() and time.time() - since < QUIET_LIMIT_S:
        time.sleep(0.1)
        if observer.open_count() != latest:
            latest, since = observer.open_count(), time.time()


def run(options: argparse.Namespace, root: Path) -> int:
    """The whole run; returns the exit code."""
    ledger = root / "ledger.txt"
    ledger.touch()
    home = root / "home"
    home.mkdir()
    server = Server(options.server, root / "server", sys.executable, home)
    server.start()
    chance = random.Random(options.seed)
    observer = Observer(server.address, options.seed)
    observer.start()
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    shares = [options.dispatches // DRIVERS + (n < options.dispatches % DRIVERS) for n in range(DRIVERS)]
    drivers = [
        context.Process(target=drive, args=(n, share, options.seed, server.address, str(home), str(ledger), told))
        for n, share in enumerate(shares)
    ]
    began = time.time()
    for driver in drivers:
        driver.start()
    done = threading.Event()
    threading.Thread(target=collect, args=(told, drivers, observer, done), daemon=True).start()
    kill_on_plan(server, plan_kills(chance, options.kills), chance, observer, drivers)
    done.wait()
    wait_for_rest(observer)
    for dispatch_id in list(observer.seen):
        observer.look(dispatch_id)
    observer.ended.set()
    observer.join()
    took = time.time() - began
    from workflows import expected_keys

    report = judge(observer, ledger, server.kills, {shape: expected_keys(shape) for shape in SHAPES})
    server.stop()
    print_report(report, observer, server, options, took)
    return 1 if any(report.values()) or len(observer.seen) != options.dispatches else 0


def print_report(report: dict, observer: Observer, server: Server, options, took: float) -> None:
    """The figures, then every fault."""
    kills = Counter(kill.what for kill in server.kills)
    resumed = sorted(server.ready_s)
    worst = f", slowest restart {resumed[-1] * 1000:.0f} ms" if resumed else ""
    print(f"kill ledger: seed {options.seed}, {took:.0f} s")
    print(f"  dispatches  {len(observer.seen)} acknowledged of {options.dispatches}")
    print(f"  kills       {sum(kills.values())}: {dict(kills)}{worst}")
    for fault, cases in report.items():
        print(f"  {fault:<11} {len(cases)}")
    for fault, cases in report.items():
        for case in cases[:20]:
            print(f"    {fault}: {case}")
    print(json.dumps({fault: len(cases) for fault, cases in report.items()}))


def main() -> int:
    """Reads the arguments and runs in a temporary folder, which is kept if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="the cov-server to run")
    parser.add_argument("--kills", type=int, default=50, help="how often something is killed (50)")
    parser.add_argument("--dispatches", type=int, default=500, help="how many workflows (500)")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="replays a run")
    options = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    root = Path(tempfile.mkdtemp(prefix="kill-ledger-"))
    code = run(options, root)
    if code == 0:
        import shutil

        shutil.rmtree(root, ignore_errors=True)
    else:
        print(f"kept for a look: {root}")
    return code


if __name__ == "__main__":
    sys.exit(main())
