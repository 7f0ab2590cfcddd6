"""Brings our own code to where nothing of ours is installed: as text, with the call that needs it.

`land` is pickled by value. It makes modules of the text once per process; the name holds the text's
digest, so that servers of different versions do not meet.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pickle
import sys
import zlib
from typing import Any, Callable, Dict, List, Tuple

import cloudpickle

import cov_runner
from cov_runner import elsewhere
from cov_runner.frames import Task

from .attempts import content

_MODULES = (
    "__init__",
    "archive",
    "elsewhere",
    "frames",
    "hooks",
    "modules",
    "named",
    "plain",
    "space",
    "task",
)


def land(name: str, packed: bytes, function: str, arguments: Tuple[Any, ...]) -> Any:
    """Calls a function of `elsewhere`, there."""
    import importlib.abc
    import importlib.machinery
    import sys
    import threading
    import zlib

    class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        def __init__(self) -> None:
            import json

            self.name = name
            self.texts = json.loads(zlib.decompress(packed))

        def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
            package, _, module = fullname.partition(".")
            if package != self.name or (module or "__init__") not in self.texts:
                return None
            return importlib.machinery.ModuleSpec(
                fullname, self, origin=f"<{fullname}>", is_package=not module
            )

        def exec_module(self, module: Any) -> None:
            short = module.__name__.partition(".")[2] or "__init__"
            code = compile(self.texts[short], f"<{module.__name__}>", "exec")
            # So that it can be told from the task's own code.
            module.__file__ = f"<{self.name}>/{short}.py"
            exec(code, module.__dict__)

    module = sys.modules.get(name + ".elsewhere")
    if module is None or not hasattr(module, "call"):
        lock: Any = sys.__dict__.setdefault("_cov_landing", threading.RLock())
        with lock:
            if not any(getattr(finder, "name", None) == name for finder in sys.meta_path):
                sys.meta_path.append(Finder())
            module = importlib.import_module(name + ".elsewhere")
    return getattr(module, function)(*arguments)


cloudpickle.register_pickle_by_value(sys.modules[__name__])


@functools.lru_cache(maxsize=None)
def _packed() -> Tuple[str, bytes]:
    folder = os.path.dirname(os.path.abspath(cov_runner.__file__))
    texts: Dict[str, str] = {}
    for module in _MODULES:
        with open(os.path.join(folder, module + ".py"), encoding="utf-8") as file:
            texts[module] = file.read()
    plain = json.dumps(texts).encode("utf-8")
    return "_cov_" + hashlib.sha256(plain).hexdigest()[:16], zlib.compress(plain, 9)


class Pickled:
    """A function that is pickled once, however often it is sent."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._bytes = cloudpickle.dumps(function)

    def __call__(self, *args: Any) -> Any:
        """Calls it."""
        return self._function(*args)

    def __reduce__(self) -> Tuple[Any, ...]:
        return pickle.loads, (self._bytes,)


@functools.lru_cache(maxsize=None)
def runner() -> Pickled:
    """Takes a pickled task that was sent; returns what `elsewhere.run` does."""
    name, packed = _packed()

    def run(payload: bytes) -> Any:
        import pickle

        return land(name, packed, "run", (pickle.loads(payload),))

    return Pickled(run)


@functools.lru_cache(maxsize=None)
def caller() -> Pickled:
    """Takes a pickled call; returns what it returns."""

    def run(payload: bytes) -> Any:
        import pickle

        return pickle.loads(payload)()

    return Pickled(run)


def sent(task: Task) -> Tuple[Any, ...]:
    """A task as it travels: what `elsewhere.Sent` holds, as a plain tuple."""
    args: List[Tuple[int, bytes]] = [(node, content(blob)) for node, blob in task.args]
    kwargs = [(name, node, content(blob)) for name, node, blob in task.kwargs]
    return tuple(
        elsewhere.Sent(
            dispatch=task.dispatch,
            node=task.node,
            function=content(task.function),
            hooks=None if task.hooks is None else content(task.hooks),
            run_callables=task.run_callables,
            args=args,
            kwargs=kwargs,
            work_dir=None if task.work_dir is None else (task.work_dir.path, task.work_dir.unique),
        )
    )


def call_of(task: Task) -> Callable[[], Any]:
    """A call that runs a task, and returns what `elsewhere.run` does."""
    run = runner()
    payload = pickle.dumps(sent(task), 4)

    def call() -> Any:
        return run(payload)

    return call
