"""Cancels many tasks that do not want to die, and looks for what is left of them in the process table.

    COV_SERVER_BIN=... python tests/sdk/cancel_proof.py --cancels 200 [--cgroups off]

A task is judged at the first answer that shows it CANCELLED: by then the process table must hold nothing
that carries its mark, dead processes that nobody has waited for included. Prints one line a way to
misbehave, and ends with exit code 1 if anything was left.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from harness import Server, isolate_sdk, pickle_by_value, point_sdk_at


def cancel_once(ct, workflow, meeting, number: int, how: str) -> tuple[float, dict[int, str]]:
    """Seconds from the cancel to the answer that shows it, and what was left then."""
    from tagging import marked, new_tag

    tag, name = new_tag(), f"wild {number}"
    dispatch_id = ct.dispatch(workflow)(meeting.address, name, how, tag)
    meeting.wait_for(name)
    began = time.monotonic()
    ct.cancel(dispatch_id)
    while ct.get_result(dispatch_id).get_node_result(0)["status"] != "CANCELLED":
        if time.monotonic() - began > 60:
            return 60.0, marked(tag) or {0: "never shown CANCELLED"}
    left = marked(tag)
    return time.monotonic() - began, left


def main() -> int:
    """Runs the cancels on a server of its own and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cancels", type=int, default=200)
    parser.add_argument("--cgroups", choices=("auto", "off"), default="auto")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="cancel-proof-"))
    isolate_sdk(root / "user")
    pickle_by_value()
    server = Server(
        os.environ["COV_SERVER_BIN"], root / "server", options=("--cgroups", options.cgroups)
    ).start()
    point_sdk_at(server.host, server.port)
    import covalent as ct

    from meeting import Meeting
    from tagging import WAYS
    from test_cancelled_means_dead import wild_alone

    meeting = Meeting()
    taken: dict[str, list[float]] = defaultdict(list)
    left: dict[str, list] = defaultdict(list)
    try:
        for number in range(options.cancels):
            how = WAYS[number % len(WAYS)]
            seconds, remains = cancel_once(ct, wild_alone, meeting, number, how)
            taken[how].append(seconds)
            if remains:
                left[how].append(remains)
    finally:
        code = server.stop()
        shutil.rmtree(root, ignore_errors=True)
    print(f"{'way':<28} cancels  left  median s   max s")
    for how, seconds in taken.items():
        seconds.sort()
        middle = seconds[len(seconds) // 2]
        print(f"{how:<28} {len(seconds):>7} {len(left[how]):>5} {middle:>9.3f} {seconds[-1]:>7.3f}  {left[how][:2] or ''}")
    total = sum(map(len, left.values()))
    print(f"{options.cancels} cancels, {total} with processes left, server exit code {code}")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
