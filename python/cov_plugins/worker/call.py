"""The callable that an engine gets: a task that is pickled with the sources of what runs it."""

from __future__ import annotations

import traceback
from typing import Any, Dict, NamedTuple, Tuple

from . import bundle, commands, programs, sources

# What unpickles a call. Its names are the members of the dictionary that is pickled beside it.
_LOADER = "exec(loader, globals()) or restore(bundle, task)"

COMPLETED = "completed"
TASK = "task"
RUNNER = "runner"
KILLED = "killed"


class Answer(NamedTuple):
    """What became of a task. It travels as a plain tuple, which every Python unpickles."""

    kind: str
    message: str
    output: bytes
    stdout: bytes
    stderr: bytes


class Call:
    """Runs one task, here or wherever it was unpickled. Called without arguments."""

    def __init__(self, task: Dict[str, Any]) -> None:
        self.task = task

    def __reduce__(self) -> Tuple[Any, ...]:
        packed = bundle()
        loader = sources(packed)["loader"]
        return eval, (_LOADER, {"loader": loader, "bundle": packed, "task": self.task})

    def __call__(self) -> Tuple[str, str, bytes, bytes, bytes]:
        """Raises nothing: what goes wrong is in the answer, which is an `Answer` as a tuple."""
        return tuple(_answer(self.task))  # type: ignore[return-value]

    @property
    def __name__(self) -> str:
        # Engines show it.
        return f"cov-{self.task['kind']}"


def _answer(task: Dict[str, Any]) -> Answer:
    work = programs.run if task["kind"] == "program" else commands.run
    try:
        return Answer(*work(task))
    except Exception:
        # Not the task's fault: the disk of the worker is full, say.
        said = f"The worker could not run the task:\n{traceback.format_exc()}"
        return Answer(RUNNER, said, b"", b"", b"")
