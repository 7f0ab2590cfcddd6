"""Functions that are called by name, `module:function`, with arguments that are put together from
the values of several nodes.

The document that names one is JSON; the server's `cov` crate writes it. Runs nothing by itself.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import pkgutil
import sys
from typing import Any, Callable, Iterable, Iterator, List, NamedTuple, Optional, Sequence

_SHOWN_MAX = 5

# What a graph calls whose result is put together from several values, and does nothing else.
_COLLECT = "cov::collect"


class NotFound(Exception):
    """There is no such function: why, and what is there."""


class Named(NamedTuple):
    """A function by name, and how it is called."""

    name: str
    output: str
    # One for each argument; nothing if each is one value.
    shapes: Optional[List[Any]]
    # Where its module is looked for first.
    path: List[str]

    def folders(self, work_dir: Optional[str]) -> List[str]:
        """Where its module is looked for before Python's own path."""
        named = [os.path.realpath(folder) for folder in self.path]
        return named if work_dir is None else [*named, os.path.realpath(work_dir)]


def read(document: Any, node: int) -> Named:
    """What a function's document says."""
    if not isinstance(document, dict):
        document = {}
    name = document.get("python")
    electron = document.get("electron")
    if electron == _COLLECT:
        name = _COLLECT
    elif not isinstance(name, str):
        if electron is None:
            raise NotFound(f"the function of node {node} is a document that names none")
        raise NotFound(
            f"node {node} calls `{electron}`, which is written in Rust, and its executor runs Python"
        )
    return Named(
        name,
        document.get("output") or "json",
        document.get("args") or None,
        document.get("path") or [],
    )


def find(named: Named, folders: Sequence[str]) -> Callable[..., Any]:
    """Imports the module and takes the function from it."""
    if named.name == _COLLECT:
        return _collected
    module_name, colon, path = named.name.partition(":")
    if not colon or not module_name or not path:
        raise NotFound(f"`{named.name}` names no function; write `module:function`")
    found: Any = _module(module_name, folders)
    where = f"module `{module_name}`"
    for step in path.split("."):
        if not hasattr(found, step):
            raise NotFound(_no_attribute(found, where, step))
        found = getattr(found, step)
        where = f"`{module_name}:{step}`"
    if not callable(found):
        raise NotFound(f"`{named.name}` is no function but a `{type(found).__name__}`")
    return found  # type: ignore[no-any-return]


def _collected(value: Any) -> Any:
    return value


def _module(name: str, folders: Sequence[str]) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing != name and not name.startswith(missing + "."):
            # The module is there, and lacks another one.
            raise
    known = sorted(_modules_beside(name, folders))
    places = f" in {', '.join(folders)} or" if folders else ""
    raise NotFound(
        f"there is no module `{name}`{places} on the path of {sys.executable}"
        + _near(name, known, "modules", folders)
    )


def _modules_beside(name: str, folders: Sequence[str]) -> Iterator[str]:
    parent, dot, _ = name.rpartition(".")
    path: Iterable[str] = sys.path
    if dot:
        spec = None
        try:
            spec = importlib.util.find_spec(parent)
        except (ImportError, ValueError):
            pass
        path = (spec.submodule_search_locations if spec is not None else None) or []
    for module in pkgutil.iter_modules(list(path)):
        yield parent + dot + module.name


def _no_attribute(holder: Any, where: str, name: str) -> str:
    known = [other for other in dir(holder) if callable(getattr(holder, other, None))]
    own = [other for other in known if _is_own(holder, other)]
    place = getattr(holder, "__file__", None)
    of_file = f" ({place})" if isinstance(place, str) else ""
    return f"{where}{of_file} has no `{name}`" + _near(name, known, "functions", own)


def _is_own(module: Any, name: str) -> bool:
    if name.startswith("_"):
        return False
    home = getattr(getattr(module, name, None), "__module__", None)
    return home == getattr(module, "__name__", None)


def _near(name: str, known: Sequence[str], kind: str, own: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=_SHOWN_MAX)
    if near:
        return f"; near names are {_listed(near)}"
    if kind == "functions" and own:
        more = ", …" if len(own) > _SHOWN_MAX else ""
        return f"; its functions are {_listed(own[:_SHOWN_MAX])}{more}"
    return ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def arguments(shapes: Optional[List[Any]], values: List[Any]) -> List[Any]:
    """Puts values together to arguments."""
    if shapes is None:
        return values
    rest = iter(values)
    built = [_built(shape, rest) for shape in shapes]
    if next(rest, rest) is not rest:
        raise ValueError("more values came than the arguments have places")
    return built


def _built(shape: Any, rest: Iterator[Any]) -> Any:
    if shape == "value":
        return _next(rest)
    if shape in ("unit", "absent"):
        return None
    if isinstance(shape, dict) and len(shape) == 1:
        ((kind, inner),) = shape.items()
        if kind == "values":
            return [_next(rest) for _ in range(inner)]
        if kind == "list":
            return [_built(item, rest) for item in inner]
        if kind == "tuple":
            return tuple([_built(item, rest) for item in inner])
        if kind == "present":
            return _built(inner, rest)
        if kind == "map":
            return {_built(key, rest): _built(value, rest) for key, value in inner}
    raise ValueError(f"unknown shape of an argument: {shape!r}")


def _next(rest: Iterator[Any]) -> Any:
    for value in rest:
        return value
    raise ValueError("fewer values came than the arguments have places")
