"""What is called on the other side, for every kind of work: always a pickled function of Python.

A function that the client pickled travels as it is. Everything else becomes a call that needs
nothing of ours on the other side, and returns an answer: what became of the task, in plain types.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Union

from cov_runner import archive, elsewhere
from cov_runner.archive import CLOUDPICKLE

from . import frames, landing, remote
from .attempts import Ending, content
from .frames import Python, Run
from .worker import call as worker_call


class Call(NamedTuple):
    """A call; function, and arguments are archives."""

    function: bytes
    args: List[bytes]
    kwargs: Dict[str, bytes]
    # As the client wrote them; those that do not run are left out.
    hooks: Optional[Dict[str, Any]]


def of(order: Run) -> Call:
    """What to call for a task."""
    task = order.task
    if is_plain(order):
        args = [content(blob) for _, blob in task.args]
        kwargs = {name: content(blob) for name, _, blob in task.kwargs}
        return Call(content(task.function), args, kwargs, _hooks(order))
    written = archive.write(answering(order), CLOUDPICKLE, f"the call of node {task.node}")
    return Call(b"".join(written.pieces()), [], {}, None)


def is_plain(order: Run) -> bool:
    """Whether the task is a function that Python pickled."""
    if not isinstance(order.work, Python):
        return False
    return archive.parse(content(order.task.function)).encoding() == CLOUDPICKLE


def ending_of(is_plain: bool, returned: bytes, stdout: str, stderr: str) -> Ending:
    """How a task ended: by the archive of what its call returned, and what the engine caught."""
    if is_plain:
        return Ending(frames.Completed(returned), stdout, stderr)
    ending = answered(archive.parse(returned).load("the answer of the call"))
    out, err = _text(ending.stdout), _text(ending.stderr)
    return ending._replace(stdout=stdout + out, stderr=stderr + err)


def answered(answer: Any) -> Ending:
    """How a task ended, by what its call returned."""
    if isinstance(answer, tuple) and len(answer) == 4:
        code, output, stdout, stderr = answer
        if code == elsewhere.COMPLETED:
            return Ending(frames.Completed(output), stdout, stderr)
        return Ending(frames.Failed(output), stdout, stderr)
    read = remote.answer_of(answer)
    kinds: Dict[str, Callable[[str], frames.Outcome]] = {
        worker_call.TASK: frames.Failed,
        worker_call.KILLED: _killed,
    }
    outcome: frames.Outcome = kinds.get(read.kind, frames.Died)(read.message)
    if read.kind == worker_call.COMPLETED:
        outcome = frames.Completed(read.output)
    return Ending(outcome, read.stdout, read.stderr)


def _killed(_: str) -> frames.Outcome:
    return frames.Killed()


def _text(stream: Union[str, bytes]) -> str:
    return stream if isinstance(stream, str) else stream.decode("utf-8", "backslashreplace")


def _hooks(order: Run) -> Optional[Dict[str, Any]]:
    if order.task.hooks is None:
        return None
    hooks = json.loads(content(order.task.hooks)) or {}
    if not order.task.run_callables:
        hooks = {"deps": hooks.get("deps") or {}}
    return dict(hooks)


def answering(order: Run) -> Callable[[], Any]:
    """A call that can be pickled, and returns what `answered` reads."""
    if isinstance(order.work, Python):
        return landing.call_of(order.task)
    return remote.call_of(order)
