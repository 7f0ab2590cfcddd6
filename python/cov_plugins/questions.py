"""Answers what a plugin asks while it works: whether to stop, which versions.

Takes its job handle. Covalent's protocol of two queues, which an executor gets before anything else
is asked of it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from typing import Any, Callable, Dict, Tuple

from .attempts import Attempt
from .hearing import Pool

# Calls of `cancel` do not wait for tasks to end.
_CANCEL_POOL = Pool(16, "cancel")


def prepare(executor: Any) -> None:
    """Gives an executor its queues."""
    executor._init_runtime(asyncio.get_running_loop(), _CANCEL_POOL)


class Answers:
    """What is told to the executor of one attempt."""

    def __init__(
        self, attempt: Attempt, versions: Dict[str, str], accept: Callable[[Any], None]
    ) -> None:
        self._attempt = attempt
        self._versions = versions
        self._accept = accept
        self._status = "RUNNING"

    async def serve(self, executor: Any) -> None:
        """Answers until the executor wants nothing more, or the caller cancels this."""
        signals: Any = importlib.import_module("covalent.executor.utils").Signals
        while True:
            action, body = await executor._send_queue.get()
            if action == signals.EXIT:
                return
            try:
                answer: Tuple[bool, Any] = (True, self._answer(action == signals.GET, body))
            except (KeyError, TypeError, ValueError):
                answer = (False, None)
            executor._recv_queue.put_nowait(answer)

    def _answer(self, is_question: bool, body: Any) -> Any:
        if is_question:
            return self._get(body)
        self._put(body)
        return None

    def _get(self, name: str) -> Any:
        if name == "cancel_requested":
            return self._attempt.cancel_requested
        return {"version_info": self._versions, "job_status": self._status}[name]

    def _put(self, body: Any) -> None:
        name, value = body
        if name == "job_handle":
            self._accept(json.loads(value))
        elif name == "job_status":
            self._status = str(value)
        else:
            raise KeyError(name)
