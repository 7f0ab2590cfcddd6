"""The peer's side of the line protocol of `cargo xtask compare`; README.md beside this file describes it.

Knows nothing about any peer, and needs only the standard library.
"""

import contextlib
import importlib.metadata
import json
import os
import signal
import socket
import sys
import time
import traceback
import urllib.request
from pathlib import Path

WORKERS = int(os.environ.get("COMPARE_WORKERS", "2"))


def data():
    """The empty folder that the driver made for what the peer's server writes."""
    return Path(os.environ["COMPARE_DATA"])


def versions(*packages):
    """The installed versions of these packages."""
    return {name: importlib.metadata.version(name) for name in packages}


def free_port():
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until_it_answers(url, seconds_max=60.0):
    """Asks an address every 5 ms until it answers with 200."""
    end = time.perf_counter() + seconds_max
    while True:
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        if time.perf_counter() > end:
            raise TimeoutError(f"{url} does not answer")
        time.sleep(0.005)


def end_group(process, seconds_max=10.0):
    """Ends a process that was started with `start_new_session=True`, and all that it started in its group."""
    for name in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, name)
        with contextlib.suppress(Exception):
            process.wait(seconds_max)
            if name == signal.SIGKILL:
                return


def serve(peer):
    """Answers the driver's requests with the methods of `peer` until it says stop, or goes away.

    `peer.start()` returns the members of its answer; `peer.stop()` ends everything; `peer.<shape>(n)` does one run and
    returns its figures or None. Without `seconds` or `samples` among them, the whole call is what is timed. An answer
    that is wrong must raise. `peer.unsupported` says why a shape has no method.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        for line in sys.stdin:
            request = json.loads(line)
            answers.write(json.dumps(_answer(peer, request)) + "\n")
            if request["do"] == "stop":
                break
        else:
            peer.stop()
    finally:
        answers.flush()
    # A library's threads must not keep a peer alive that was told to go.
    os._exit(0)


def _answer(peer, request):
    begin = time.perf_counter()
    try:
        if request["do"] == "run":
            figures = _run(peer, request["shape"], request["n"])
        else:
            figures = getattr(peer, request["do"])()
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    return {"seconds": time.perf_counter() - begin, **(figures or {})}


def _run(peer, shape, n):
    method = getattr(peer, shape, None)
    if method is None:
        return {"unsupported": getattr(peer, "unsupported", {}).get(shape, "")}
    return method(n)
