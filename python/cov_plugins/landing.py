"""Brings our own code to where nothing of ours is installed: as text, with each call that needs it.

What travels is made of Python's own parts alone, `eval` and its arguments: it can be unpickled and
pickled again where nothing of it is known, as Dask's scheduler does, at the price of copying bytes.
Modules are made of the text once per process; their name holds its digest, so that servers of
different versions do not meet.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pickle
import zlib
from typing import Any, Callable, Dict, List, Tuple

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

# Evaluated on the other side. The last name that `elsewhere` defines is there when all of it is.
_RUN = (
    "(getattr(__import__('sys').modules.get(entry), 'run_pickled', None)"
    " or (exec(loader, globals()), land(entry, packed))[1].run_pickled)(payload)"
)
_CALL = "__import__('pickle').loads(payload)()"

# Executed on the other side, once per process.
_LOADER = '''
import importlib, importlib.abc, importlib.machinery, json, sys, zlib

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of one text."""

    def __init__(self, package, packed):
        self.package = package
        self.texts = json.loads(zlib.decompress(packed))

    def find_spec(self, fullname, path=None, target=None):
        package, _, module = fullname.partition(".")
        if package != self.package or (module or "__init__") not in self.texts:
            return None
        origin = "<%s>/%s.py" % (package, module or "__init__")
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=origin, is_package=not module)
        spec.has_location = True
        return spec

    def exec_module(self, module):
        text = self.texts[module.__name__.partition(".")[2] or "__init__"]
        exec(compile(text, module.__spec__.origin, "exec"), module.__dict__)

def land(entry, packed):
    package = entry.partition(".")[0]
    if not any(getattr(finder, "package", None) == package for finder in sys.meta_path):
        sys.meta_path.append(Finder(package, packed))
    return importlib.import_module(entry)
'''


@functools.lru_cache(maxsize=None)
def _packed() -> Dict[str, Any]:
    folder = os.path.dirname(os.path.abspath(cov_runner.__file__))
    texts: Dict[str, str] = {}
    for module in _MODULES:
        with open(os.path.join(folder, module + ".py"), encoding="utf-8") as file:
            texts[module] = file.read()
    plain = json.dumps(texts).encode("utf-8")
    entry = "_cov_" + hashlib.sha256(plain).hexdigest()[:16] + ".elsewhere"
    return {"entry": entry, "packed": zlib.compress(plain, 9), "loader": _LOADER}


@functools.lru_cache(maxsize=None)
def runner() -> Callable[[Dict[str, bytes]], Any]:
    """Takes a pickled task that was sent, as `payload`; returns what `elsewhere.run` does."""
    return functools.partial(eval, _RUN, _packed())


@functools.lru_cache(maxsize=None)
def caller() -> Callable[[Dict[str, bytes]], Any]:
    """Takes a pickled call, as `payload`; returns what it returns."""
    return functools.partial(eval, _CALL, {})


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
    return functools.partial(eval, _RUN, dict(_packed()), {"payload": pickle.dumps(sent(task), 4)})
