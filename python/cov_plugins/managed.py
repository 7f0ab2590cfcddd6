"""Drives a plugin by Covalent's managed contract: `send`, `poll`, `receive`.

What `send` returns names the job, and `poll` needs nothing else: a job whose host is gone is taken
up by the next one.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import urllib.request
from typing import Any, Dict, List, Tuple
from urllib.parse import unquote, urlsplit

from . import calls, questions
from .attempts import Attempt, Ending, JobLost, Settings
from .catalogue import Plugin, make
from .frames import Failed, Refused, Run
from .old import OldWay
from .surroundings import covalent_version

WAY = "managed"

_HTTP_SECONDS_MAX = 300.0


class ManagedWay(OldWay):
    """One attempt on one plugin."""

    def __init__(self, plugin: Plugin, attempt: Attempt, settings: Settings) -> None:
        super().__init__(plugin, attempt, settings)
        self._folder = os.path.join(settings.run_dir, "uploads", f"attempt-{attempt.number:016x}")
        self._is_plain = True

    async def _run(self, order: Run) -> Ending:
        call = calls.of(order)
        self._is_plain = calls.is_plain(order)
        executor, listener = self._open(self._versions(order))
        try:
            self._attempt.begin()
            specs, resources = await self._upload(executor, order, call)
            handle = await executor.send(specs, resources, self._group())
            self._keep(handle)
            return await self._follow(executor, handle)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return self._raised(error)
        finally:
            listener.cancel()

    async def attach(self, job: Dict[str, Any]) -> Ending:
        """Follows a job of a host that is gone. Raises `JobLost` if the plugin cannot."""
        self._is_plain = bool(job.get("plain", True))
        executor, listener = self._open({"python": "", "covalent": covalent_version()})
        try:
            self._attempt.begin()
            return await self._follow(executor, job.get("handle"), is_attached=True)
        finally:
            listener.cancel()

    def _open(self, versions: Dict[str, str]) -> "Tuple[Any, asyncio.Future[None]]":
        executor = self._executor = make(self._plugin, self._attempt.engine, self._attempt.secrets)
        questions.prepare(executor)
        answers = questions.Answers(self._attempt, versions, self._keep)
        return executor, asyncio.ensure_future(answers.serve(executor))

    def _versions(self, order: Run) -> Dict[str, str]:
        transport: Any = importlib.import_module("covalent._workflow.transport")
        function = transport.TransportableObject.deserialize(calls.of(order).function)
        return {"python": function.python_version, "covalent": covalent_version()}

    def _keep(self, handle: Any) -> None:
        self._attempt.accept({"way": WAY, "handle": handle, "plain": self._is_plain})

    def _group(self) -> Dict[str, Any]:
        node = self._attempt.node
        return {"dispatch_id": self._attempt.dispatch, "node_ids": [node], "task_group_id": node}

    async def _upload(self, executor: Any, order: Run, call: calls.Call) -> Tuple[List[Any], Any]:
        schemas: Any = importlib.import_module("covalent.executor.schemas")
        serialize: Any = importlib.import_module("covalent.executor.utils.serialize")
        node = self._attempt.node
        hooks = serialize.serialize_node_asset(call.hooks or {}, "hooks")
        # A node that is given twice is uploaded once.
        known = self._inputs(order, call)
        put = self._put
        resources = schemas.ResourceMap(
            functions={node: await put(executor, f"function-{node}", call.function)},
            hooks={node: await put(executor, f"hooks-{node}", hooks)},
            inputs={
                number: await put(executor, f"node_{number}", known[number]) for number in known
            },
        )
        args, kwargs = [], {}
        if call.args or call.kwargs:
            args = [number for number, _ in order.task.args]
            kwargs = {name: number for name, number, _ in order.task.kwargs}
        return [schemas.TaskSpec(electron_id=node, args=args, kwargs=kwargs)], resources

    @staticmethod
    def _inputs(order: Run, call: calls.Call) -> Dict[int, bytes]:
        numbers = [number for number, _ in order.task.args]
        known = dict(zip(numbers, call.args))
        for name, number, _ in order.task.kwargs:
            if name in call.kwargs:
                known[number] = call.kwargs[name]
        return known

    async def _put(self, executor: Any, key: str, data: bytes) -> str:
        """Brings an input to where the plugin wants it; returns where that is."""
        uri = executor.get_upload_uri(self._group(), key)
        if asyncio.iscoroutine(uri):
            uri = await uri
        if not uri:
            uri = "file://" + os.path.join(self._folder, key)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, _write, str(uri), data)
        return str(uri)

    async def _follow(self, executor: Any, handle: Any, is_attached: bool = False) -> Ending:
        group = self._group()
        try:
            data = await executor.poll(group, handle)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if not is_attached or type(error).__name__ == "TaskCancelledError":
                return self._raised(error)
            self._note(error)
            name = self._plugin.name
            raise JobLost(
                f"`poll` of the executor `{name}` did not find its job: {error}"
            ) from error
        try:
            updates = await executor.receive(group, data)
            return await self._received(updates)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return self._raised(error)

    async def _received(self, updates: List[Any]) -> Ending:
        chosen = [update for update in updates if update.node_id == self._attempt.node]
        if not chosen:
            name = self._plugin.name
            message = (
                f"`receive` of the executor `{name}` says nothing of node {self._attempt.node}"
            )
            return Ending(Refused(message))
        update = chosen[0]
        parts = {}
        for key in ("output", "stdout", "stderr", "error"):
            parts[key] = await self._get(update.assets.get(key))
        stdout, stderr = (parts[key].decode("utf-8", "replace") for key in ("stdout", "stderr"))
        status = str(update.status)
        if status == "CANCELLED":
            return Ending(self._cancelled(), stdout, stderr)
        if status != "COMPLETED":
            said = stderr or parts["error"].decode("utf-8", "replace")
            message = said or "The executor says that the task failed, and nothing else.\n"
            return Ending(Failed(message), stdout, stderr)
        return calls.ending_of(self._is_plain, parts["output"], stdout, stderr)

    @staticmethod
    async def _get(asset: Any) -> bytes:
        uri = "" if asset is None else str(asset.remote_uri or "")
        if not uri:
            return b""
        return await asyncio.get_running_loop().run_in_executor(None, _read, uri)

    def close(self) -> None:
        """Removes the files that only the attempt needed."""
        super().close()
        if os.path.isdir(self._folder):
            for name in os.listdir(self._folder):
                os.unlink(os.path.join(self._folder, name))
            os.rmdir(self._folder)


def _path(uri: str) -> str:
    return unquote(uri[len("file://") :]) if uri.startswith("file://") else uri


def _is_web(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _write(uri: str, data: bytes) -> None:
    if _is_web(uri):
        request = urllib.request.Request(uri, data=data, method="PUT")
        urllib.request.urlopen(request, timeout=_HTTP_SECONDS_MAX).close()
        return
    _check(uri)
    path = _path(uri)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def _read(uri: str) -> bytes:
    if _is_web(uri):
        with urllib.request.urlopen(uri, timeout=_HTTP_SECONDS_MAX) as answer:
            return bytes(answer.read())
    _check(uri)
    with open(_path(uri), "rb") as file:
        return file.read()


def _check(uri: str) -> None:
    scheme = urlsplit(uri).scheme
    if scheme not in ("", "file"):
        raise ValueError(f"{scheme} is no way of moving files that is known here: {uri}")
