"""What runs around an electron: shell commands, packages, calls before and after.

A hook is a pickled callable with its arguments. Order and the passing of return values are
Covalent's: shell commands, packages, calls before; then the function; then calls after.
"""

from __future__ import annotations

import binascii
import functools
import importlib
import json
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Union

import cloudpickle

# Most electrons have the same hooks as others: none.
_KEPT_BYTES_MAX = 1024
_KEPT = 64

# Values of this keyword are always passed as a list: the pairs of paths of file transfers.
FILES = "files"


class Call(NamedTuple):
    """A pickled callable, and the keyword that takes what it returns."""

    attributes: Dict[str, Any]
    keyword: str

    def run(self) -> Any:
        """Unpickles and calls."""
        function: Callable[..., Any] = self._load("apply_fn")
        args = self._load("apply_args")
        kwargs = self._load("apply_kwargs")
        return function(*args, **kwargs)

    def _load(self, name: str) -> Any:
        pickled = self.attributes[name]["attributes"]["_object"]
        return cloudpickle.loads(binascii.a2b_base64(pickled))


class Hooks:
    """The hooks of one electron."""

    def __init__(self, text: Union[bytes, memoryview, None], run_callables: bool) -> None:
        document = _document(text) if text else {}
        deps = document.get("deps") or {}
        self._deps = [_call(deps[kind]) for kind in ("bash", "pip") if deps.get(kind)]
        self._before: List[Call] = []
        self._after: List[Call] = []
        if run_callables:
            self._before = _calls(document.get("call_before"))
            self._after = _calls(document.get("call_after"))

    def before(self) -> Dict[str, Any]:
        """Runs what comes before the function; returns the keywords that it gets from there."""
        for call in self._deps:
            call.run()
        if self._deps:
            # A package may have been installed behind the import system's back.
            importlib.invalidate_caches()
        returned: Dict[str, List[Any]] = {}
        for call in self._before:
            value = call.run()
            if call.keyword:
                returned.setdefault(call.keyword, []).append(value)
        return {keyword: _injected(keyword, values) for keyword, values in returned.items()}

    def after(self) -> None:
        """Runs what comes after the function."""
        for call in self._after:
            call.run()


def _document(text: Union[bytes, memoryview]) -> Dict[str, Any]:
    """What the text says, which is only read."""
    read = _read_kept if len(text) <= _KEPT_BYTES_MAX else _read
    return read(bytes(text))


def _read(text: bytes) -> Dict[str, Any]:
    return json.loads(str(text, "utf-8")) or {}


_read_kept = functools.lru_cache(_KEPT)(_read)


def _injected(keyword: str, values: List[Any]) -> Any:
    return values[0] if len(values) == 1 and keyword != FILES else values


def _calls(entries: Optional[List[Dict[str, Any]]]) -> List[Call]:
    return [_call(entry) for entry in entries or [] if entry]


def _call(entry: Dict[str, Any]) -> Call:
    attributes = entry["attributes"]
    return Call(attributes, attributes.get("retval_keyword") or "")
