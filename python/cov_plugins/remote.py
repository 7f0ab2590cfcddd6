"""Tasks of programs and commands as callables that an engine runs.

For the host: `call_of` gives what is handed to an engine in place of a Python function with its
arguments, and `answer_of` reads what that returned. The callable takes no arguments, is pickled by
any pickler, and needs nothing on the worker but Python 3.8 and Linux.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

from cov_runner.frames import Blob, File

from . import frames
from .worker.call import Answer, Call

# Seconds between SIGTERM and SIGKILL, if nothing else is said.
GRACE_S = 2.0

# What the address of a program ends with, before the digest of what is found there.
_DIGEST = "#sha256="


def call_of(run: frames.Run, grace: float = GRACE_S) -> Call:
    """The callable of a task that is no function of Python. Reads the files that it is in.

    Raises OSError when one cannot be read, and ValueError for what only Python runs.
    """
    if isinstance(run.work, frames.Python):
        raise ValueError("a function of Python is its own callable")
    task = run.task
    said: Dict[str, Any] = {
        "kind": "command",
        "attempt": task.attempt,
        "dispatch": task.dispatch,
        "node": task.node,
        "function": _bytes(task.function),
        "hooks": None if task.hooks is None else _bytes(task.hooks),
        "run_callables": task.run_callables,
        "args": [(node, _bytes(value)) for node, value in task.args],
        "kwargs": [(name, node, _bytes(value)) for name, node, value in task.kwargs],
        "work_dir": None if task.work_dir is None else tuple(task.work_dir),
        "program": None,
        "memory_bytes_max": getattr(run.work, "memory_bytes_max", None),
        "grace": grace,
    }
    if isinstance(run.work, frames.Program):
        address, digest = _address(run.work.address)
        said["kind"] = "program"
        said["program"] = {"digest": run.work.digest, "address": address, "sha256": digest}
    return Call(said)


def answer_of(returned: Any) -> Answer:
    """What the callable returned. Raises ValueError when it is something else."""
    if not isinstance(returned, (tuple, list)) or len(returned) != len(Answer._fields):
        raise ValueError("the engine returned something else than the answer of the worker")
    return Answer(*returned)


def _bytes(blob: Blob) -> bytes:
    if isinstance(blob, File):
        with open(blob.path, "rb") as file:
            return file.read()
    return bytes(blob)


def _address(written: Optional[str]) -> Tuple[Optional[str], str]:
    """Where a program is found, and the digest by which a worker checks what it got.

    Workers cannot compute the server's own digest, since Python's standard library has none such.
    This one travels with the task and not with the program, so that who changes what is fetched
    does not change what it is held against.
    """
    address, mark, digest = (written or "").partition(_DIGEST)
    return (address, digest) if mark else (None, "")
