"""The kill ledger: workflows whose tasks write down that they ran, on a server that is killed again and again.

Drives the unmodified Covalent SDK. Every task appends its key to a ledger when it begins and when it
ends; the server and single runners are killed (SIGKILL) or frozen (SIGSTOP, later SIGCONT) at random
moments while work is under way; an observer writes down what the API shows. At the end the three accounts are compared:

lost         a dispatch that was acknowledged and is gone, did not complete, or lacks a key in the ledger
stuck        a dispatch that does not end
repeated     a task that began again after the API had shown it COMPLETED, or more often than
             1 + the kills during its dispatch's life
overwritten  an output, or a terminal status, that the API showed and later showed differently

All must be 0. The same seed makes the same workflows and the same plan of kills. Clients are let go on
with their next workflows as the kills are done, so that every kill finds work under way.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import queue
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from judge import Seen, judge, read_ledger, repeated_by_kills
from servers import STRIKES, Server, api, entity_tag

SHAPES = ("chain", "fan", "diamond", "sublattice")
DRIVERS = 3
QUIET_LIMIT_S = 90.0


def drive(number: int, options: dict, allowed, told) -> None:
    """One client process: dispatches every `DRIVERS`th workflow, and tells which were acknowledged."""
    home = options["home"]
    # The SDK says on its own whenever it cannot reach its server.
    silence = os.open(f"{home}/client-{number}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    host, port = options["address"].removeprefix("http://").split(":")
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

    chance = random.Random(options["seed"] * 1_000 + number)
    for index in range(number, options["dispatches"], DRIVERS):
        while index >= allowed.value:
            time.sleep(0.01)
        shape, pace = chance.choice(SHAPES), chance.choice((0.0, 0.01, 0.05, 0.2))
        for attempt in range(10_000):
            tag = f"{index}-{attempt}"
            try:
                dispatch_id = ct.dispatch(build(shape))(tag, pace, options["ledger"])
            except requests.RequestException:
                # Not acknowledged, so nothing is owed; the server is down or was killed meanwhile.
                time.sleep(0.02)
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
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            open_ones = [i for i, seen in list(self.seen.items()) if seen.ended_at is None]
            ended_ones = [i for i, seen in list(self.seen.items()) if seen.ended_at is not None]
            again = self.chance.sample(ended_ones, min(3, len(ended_ones)))
            for dispatch_id in open_ones + again:
                self.look(dispatch_id)
            self.ended.wait(0.05)

    def look(self, dispatch_id: str) -> None:
        """Takes down one export, and those of its sub-dispatches. A server that is down shows nothing."""
        seen = self.seen[dispatch_id]
        status, manifest = api(self.address, f"/api/v2/dispatches/{dispatch_id}")
        if status == 404:
            seen.is_gone(time.time())
        if status != 200:
            return
        shown_at = time.time()
        self.name_outputs("n", seen, manifest)
        seen.show(manifest, shown_at)
        for node in manifest["lattice"]["transport_graph"]["nodes"]:
            below = node["metadata"].get("sub_dispatch_id")
            if below:
                status, manifest_below = api(self.address, f"/api/v2/dispatches/{below}")
                if status == 200:
                    shown_at = time.time()
                    self.name_outputs("s", seen, manifest_below)
                    seen.show_nodes("s", manifest_below, shown_at)

    def name_outputs(self, prefix: str, seen: Seen, manifest: dict) -> None:
        """Asks for the name of each output's bytes, the first time and once the dispatch has ended.

        Exports tell digests only of what clients announced. A server that is down leaves the name open.
        """
        for node in manifest["lattice"]["transport_graph"]["nodes"]:
            if node["metadata"]["status"] != "COMPLETED":
                continue
            output = node["assets"]["output"]
            known = seen.outputs.get(f"{prefix}{node['id']}")
            wanted = known is None or seen.ended_at is not None
            output["digest"] = (entity_tag(output["remote_uri"]) if wanted else None) or known

    def open_count(self) -> int:
        """How many dispatches have not been seen to end."""
        return sum(seen.ended_at is None for seen in list(self.seen.values()))


def plan_kills(chance: random.Random, count: int) -> list[str]:
    """Mostly the server; each of the others now and then."""
    return chance.choices(STRIKES, weights=(6, 2, 0.5, 1, 1), k=count)


def kill_on_plan(server: Server, options, observer: Observer, allowed, ledger: Path) -> None:
    """Carries out the whole plan. Before each kill its share of the workflows is let go, and the next one's."""
    chance = random.Random(options.seed)
    plan = plan_kills(chance, options.kills)
    for number, what in enumerate(plan):
        allowed.value = min(options.dispatches, -(-options.dispatches * (number + 2) // len(plan)))
        delay, down_s, frozen_s = chance.uniform(0.0, 0.4), chance.uniform(0.0, 0.3), chance.uniform(0.3, 2.0)
        wait_until(lambda: observer.open_count() > 0 or len(observer.seen) >= allowed.value)
        if chance.random() < 0.5:
            # Half of them while a task runs for sure, the others at any time.
            size = ledger.stat().st_size
            wait_until(lambda then=size: ledger.stat().st_size > then or not observer.open_count())
            delay /= 5
        struck_at = time.time() + delay
        wait_until(lambda at=struck_at: time.time() >= at or not observer.open_count())
        server.strike(what, down_s, frozen_s)
    allowed.value = options.dispatches


def wait_until(is_so, limit_s: float = QUIET_LIMIT_S) -> None:
    """Waits for something that happens soon, unless the run has got stuck."""
    end = time.time() + limit_s
    while not is_so() and time.time() < end:
        time.sleep(0.002)


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
            continue
        dispatch_id, shape, tag, at = item
        observer.seen[dispatch_id] = Seen(shape, tag, at)
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
    ledger, home = root / "ledger.txt", root / "home"
    ledger.touch()
    home.mkdir()
    server = Server(options.server, root / "server", sys.executable, home, random.Random(options.seed + 3))
    server.start()
    observer = Observer(server.address, options.seed)
    observer.start()
    context = multiprocessing.get_context("spawn")
    told, allowed = context.Queue(), context.Value("i", 0)
    about = {
        "seed": options.seed,
        "dispatches": options.dispatches,
        "address": server.address,
        "home": str(home),
        "ledger": str(ledger),
    }
    drivers = [context.Process(target=drive, args=(n, about, allowed, told)) for n in range(DRIVERS)]
    began = time.time()
    for driver in drivers:
        driver.start()
    done = threading.Event()
    threading.Thread(target=collect, args=(told, drivers, observer, done), daemon=True).start()
    try:
        kill_on_plan(server, options, observer, allowed, ledger)
        done.wait()
        wait_for_rest(observer)
        for dispatch_id in list(observer.seen):
            observer.look(dispatch_id)
    finally:
        observer.ended.set()
        for driver in drivers:
            driver.terminate()
        server.stop()
    observer.join()
    from workflows import expected_keys

    entries = read_ledger(ledger)
    expected = {shape: expected_keys(shape) for shape in SHAPES}
    report = judge(observer.seen, entries, server.kills, expected, time.time())
    print_report(report, observer, entries, server, options, time.time() - began)
    whole = len(observer.seen) == options.dispatches and len(server.kills) == options.kills
    return 1 if any(report.values()) or not whole else 0


def print_report(report: dict, observer: Observer, entries: dict, server: Server, options, took: float) -> None:
    """The figures, then every fault."""
    kills = Counter(kill.what for kill in server.kills)
    ready = sorted(server.ready_s)
    begun = sum(entry.what == "begin" for own in entries.values() for entry in own)
    print(f"kill ledger: seed {options.seed}, {took:.0f} s")
    print(f"  dispatches  {len(observer.seen)} acknowledged of {options.dispatches}")
    print(f"  kills       {sum(kills.values())} of {options.kills}: {dict(kills)}")
    print(f"  restarts    {len(ready) - 1}, ready after {ready[len(ready) // 2] * 1000:.0f} ms (median), "
          f"{ready[-1] * 1000:.0f} ms (worst)")
    print(f"  tasks       begun {begun} times, {repeated_by_kills(entries)} of them more than once because of kills")
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
        shutil.rmtree(root, ignore_errors=True)
    else:
        print(f"kept for a look: {root}")
    return code


if __name__ == "__main__":
    sys.exit(main())
