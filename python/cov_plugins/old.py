"""Drives a plugin by Covalent's old contract: `setup`, `run`, `teardown`, and `cancel`.

Such a plugin holds the way to its job in `run`. When this process ends in the middle of it, the job
is lost; all that can be done for one with a handle is to have it cancelled before another is run.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import shutil
from typing import Any, Dict, List, Optional, Tuple

from . import calls, questions
from .attempts import Attempt, Ending, JobLost, Settings
from .catalogue import Plugin, make
from .frames import Failed, Killed, Outcome, Refused, Run
from .hearing import Heard, hearing
from .secrecy import log_error
from .surroundings import covalent_version

WAY = "run"

# How long the job of a host that is gone may take to be cancelled.
_CANCEL_SECONDS_MAX = 60.0


class OldWay:
    """One attempt on one plugin."""

    def __init__(self, plugin: Plugin, attempt: Attempt, settings: Settings) -> None:
        self._plugin = plugin
        self._attempt = attempt
        self._results_dir = os.path.join(
            settings.run_dir, "results", f"attempt-{attempt.number:016x}"
        )
        self._executor: Any = None
        self._out, self._err = Heard(), Heard()

    async def run(self, order: Run) -> Ending:
        """Runs the task from its begin to its end."""
        with hearing(self._out, self._err):
            return await self._run(order)

    async def _run(self, order: Run) -> Ending:
        executor = self._executor = make(self._plugin, self._attempt.engine, self._attempt.secrets)
        questions.prepare(executor)
        function, args, kwargs = _arguments(order)
        versions = {"python": function.args[0].python_version, "covalent": covalent_version()}
        answers = questions.Answers(self._attempt, versions, self._accept)
        listener = asyncio.ensure_future(answers.serve(executor))
        # Plugins write there, and expect the folder.
        os.makedirs(os.path.join(self._results_dir, self._attempt.dispatch), exist_ok=True)
        self._attempt.begin()
        try:
            out, _, _, status = await executor._execute(
                function,
                args,
                kwargs,
                self._attempt.dispatch,
                self._results_dir,
                self._attempt.node,
            )
            return self._ending(order, out, str(status))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return self._raised(error)
        finally:
            listener.cancel()

    def _note(self, error: BaseException) -> None:
        """Writes to the host's log where it happened."""
        log_error(f"attempt {self._attempt.number:x} on {self._plugin.name}", error)

    def _accept(self, handle: Any) -> None:
        self._attempt.accept({"way": WAY, "handle": handle})

    def _ending(self, order: Run, out: Any, status: str) -> Ending:
        stdout, stderr = self.printed()
        if status == "CANCELLED":
            return Ending(self._cancelled(), stdout, stderr)
        if status != "COMPLETED":
            message = stderr or "The executor says that the task failed, and nothing else.\n"
            return Ending(Failed(message), stdout, stderr)
        transport: Any = importlib.import_module("covalent._workflow.transport")
        if not isinstance(out, transport.TransportableObject):
            message = (
                f"`run` of the executor `{self._plugin.name}` returned a `{type(out).__name__}`, "
                "and not what the function returned"
            )
            return Ending(Refused(message), stdout, stderr)
        return calls.ending_of(calls.is_plain(order), out.serialize(), stdout, stderr)

    def _raised(self, error: BaseException) -> Ending:
        stdout, stderr = self.printed()
        if type(error).__name__ == "TaskCancelledError":
            return Ending(self._cancelled(error.__cause__), stdout, stderr)
        self._note(error)
        return Ending(Refused(str(error) or type(error).__name__), stdout, stderr)

    def _cancelled(self, cause: Optional[BaseException] = None) -> Outcome:
        if self._attempt.cancel_requested:
            return Killed()
        why = "" if cause is None else f": {type(cause).__name__}: {cause}"
        name = self._plugin.name
        return Refused(
            f"The executor `{name}` says that the task was cancelled, but this server did not ask "
            f"for it{why}"
        )

    def printed(self) -> Tuple[str, str]:
        """What the plugin has said of the task so far."""
        streams = (self._of_executor("task_stdout"), self._of_executor("task_stderr"))
        out, err = (stream.getvalue() if stream is not None else "" for stream in streams)
        return out + self._out.getvalue(), err + self._err.getvalue()

    def _of_executor(self, name: str) -> Any:
        return getattr(self._executor, name, None)

    def close(self) -> None:
        """Removes the files that only the attempt needed."""
        shutil.rmtree(self._results_dir, ignore_errors=True)

    async def cancel(self) -> bool:
        """Asks the plugin to end the job; whether it says that it does."""
        handle = None if self._attempt.job is None else self._attempt.job["handle"]
        return await self._cancel(handle)

    async def _cancel(self, handle: Any) -> bool:
        try:
            # Another one, as Covalent does it: what `run` holds is not for others to use.
            executor = make(self._plugin, self._attempt.engine, self._attempt.secrets)
            questions.prepare(executor)
            metadata = {"dispatch_id": self._attempt.dispatch, "node_id": self._attempt.node}
            return await executor._cancel(metadata, handle) is True
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._note(error)
            return False

    async def attach(self, job: Dict[str, Any]) -> Ending:
        """Cancels the job of a host that is gone. Always raises `JobLost`."""
        handle = job.get("handle")
        name = self._plugin.name
        try:
            ended = await asyncio.wait_for(self._cancel(handle), _CANCEL_SECONDS_MAX)
        except asyncio.TimeoutError:
            ended = False
        what = "it was cancelled" if ended else "it could not be cancelled, and may still run"
        raise JobLost(f"The executor `{name}` cannot take up its job {handle!r} again; {what}.")


def _arguments(order: Run) -> Tuple[Any, List[Any], Dict[str, Any]]:
    """The call as plugins get it: the function's wrapper, and its arguments, all still pickled."""
    wrappers: Any = importlib.import_module("covalent.executor.utils.wrappers")
    transport: Any = importlib.import_module("covalent._workflow.transport")
    call = calls.of(order)
    read = transport.TransportableObject.deserialize
    hooks = call.hooks or {}
    deps = {kind: entry for kind, entry in (hooks.get("deps") or {}).items() if entry}
    calls_around = [[e for e in hooks.get(key) or [] if e] for key in ("call_before", "call_after")]
    before, after = wrappers._gather_deps(deps, *calls_around)
    function = functools.partial(wrappers.wrapper_fn, read(call.function), before, after)
    kwargs = {name: read(value) for name, value in call.kwargs.items()}
    return function, [read(value) for value in call.args], kwargs
