"""One task on its way through Dask: what is sent, and how its answer is read.

Talks to no scheduler.
"""

from __future__ import annotations

import os
import pickle
import time
from typing import Any, Callable, Dict, Optional

from cov_runner.frames import WorkDir

from . import calls, frames, landing, remote
from .attempts import Attempt, Ending
from .frames import Engine, Python, Run

WAY = "dask"

# What the SDK writes when nobody chose a folder; on a worker it means the worker's own.
_DEFAULT_FOLDER = os.path.join(".cache", "covalent", "workdir")


class Job:
    """A task that Dask runs, or shall run."""

    def __init__(self, attempt: Attempt, key: str) -> None:
        self.attempt = attempt
        self.key = key
        # What is called and with what, as long as it may have to be sent.
        self.function: Optional[Callable[..., Any]] = None
        self.payload: Dict[str, bytes] = {}
        self.future: Any = None
        # Whether the scheduler keeps the result for the next host.
        self.is_kept = False
        # Whether its end was asked for.
        self.is_doomed = False
        self.sent_at = time.monotonic()

    def size(self) -> int:
        """Bytes that have to be sent."""
        return sum(map(len, self.payload.values()))

    def handle(self, address: str) -> Dict[str, Any]:
        """By what another host finds the job."""
        return {"way": WAY, "address": address, "key": self.key}


def new(attempt: Attempt, order: Run) -> Job:
    """A job for a task. Reads the files that its inputs are in."""
    job = Job(attempt, f"cov-{attempt.dispatch}-{attempt.node}-{attempt.number:x}")
    if isinstance(order.work, Python):
        job.function = landing.runner()
        task = order.task
        if task.work_dir is None:
            task = task._replace(work_dir=_folder(order.engine))
        job.payload = {"payload": pickle.dumps(landing.sent(task), 4)}
    else:
        job.function = landing.caller()
        job.payload = {"payload": pickle.dumps(remote.call_of(order), 4)}
    return job


def _folder(engine: Engine) -> Optional[WorkDir]:
    attributes = engine.data.get("attributes")
    if not isinstance(attributes, dict):
        return None
    folder, unique = (
        str(attributes.get("workdir") or ""),
        bool(attributes.get("create_unique_workdir")),
    )
    is_chosen = bool(folder) and not folder.endswith(_DEFAULT_FOLDER)
    if not (folder and unique) and not is_chosen:
        return None
    return WorkDir(folder, unique)


def ending_of(answer: Any) -> Ending:
    """How a task ended, by what came back from the worker."""
    try:
        return calls.answered(answer)
    except ValueError as error:
        return Ending(frames.Refused(f"The Dask worker returned no answer of a task: {error}"))


def ending_of_error(error: BaseException) -> Ending:
    """How a task ended that Dask could not run to its end."""
    kind = type(error).__name__
    if kind == "KilledWorker":
        message = (
            "The Dask workers that ran this task died, one after the other, and Dask gave it up: "
            f"{error}"
        )
        return Ending(frames.Died(message))
    return Ending(frames.Refused(f"Dask could not run the task: {kind}: {error}"))
