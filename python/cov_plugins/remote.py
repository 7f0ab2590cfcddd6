"""Tasks of programs and commands as callables that an engine runs.

For the plugin host: `call_of` gives what is handed to the engine in place of a Python function with
its arguments, `answer_of` reads what it returned. The callable takes no arguments, pickles by any
pickler, and needs nothing on the worker but Python 3.8 and Linux.
"""

from __future__ import annotations

import hashlib
import os
import threading
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

from .worker.call import COMPLETED, Answer, Call

_CHUNK_BYTES = 1024 * 1024

# Seconds between SIGTERM and SIGKILL, if nothing else is said.
GRACE_S = 2.0


class Program(NamedTuple):
    """A program with electrons, and where a worker gets it."""

    # The digest by which the server knows it.
    digest: str
    # Its bytes, or the path of a file that holds them.
    content: Union[bytes, str]
    # Where a worker fetches it; nothing if the server knows no address.
    address: Optional[str]
    memory_bytes_max: Optional[int]


class RemoteTask(NamedTuple):
    """One attempt, with all of its payloads in memory."""

    attempt: int
    dispatch: str
    node: int
    function: bytes
    hooks: Optional[bytes]
    run_callables: bool
    args: List[Tuple[int, bytes]]
    kwargs: List[Tuple[str, int, bytes]]
    # The folder to run in, and whether the task gets one of its own below it.
    work_dir: Optional[Tuple[str, bool]]


_digests: Dict[str, str] = {}
_digests_lock = threading.Lock()


def call_of(
    task: RemoteTask,
    program: Optional[Program],
    *,
    memory_bytes_max: Optional[int] = None,
    grace: float = GRACE_S,
) -> Call:
    """The callable of an electron of `program`, or of a command when there is none.

    `memory_bytes_max` bounds the address space of a command's process.
    """
    said: Dict[str, Any] = dict(task._asdict())
    said["grace"] = grace
    said["kind"] = "command" if program is None else "program"
    said["memory_bytes_max"] = memory_bytes_max
    said["program"] = None
    if program is not None:
        said["program"] = {
            "digest": program.digest,
            "sha256": _sha256(program),
            "address": program.address,
            "memory_bytes_max": program.memory_bytes_max,
        }
    return Call(said)


def answer_of(returned: Any) -> Answer:
    """What the callable returned. Raises ValueError when it is something else."""
    if not isinstance(returned, (tuple, list)) or len(returned) != len(Answer._fields):
        raise ValueError("the engine returned something else than the worker's answer")
    return Answer(*returned)


def is_completed(answer: Answer) -> bool:
    """Whether there is an output: the bytes of an archive."""
    return answer.kind == COMPLETED


def _sha256(program: Program) -> str:
    """The digest by which a worker checks what it fetches.

    Workers cannot compute the server's own, since Python's standard library lacks it. It travels
    with the task and not with the program, so that who can change the one cannot change the other.
    """
    with _digests_lock:
        known = _digests.get(program.digest)
        if known is None:
            known = _digests[program.digest] = _computed(program.content)
        return known


def _computed(content: Union[bytes, str]) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    digest = hashlib.sha256()
    with open(os.fspath(content), "rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()
