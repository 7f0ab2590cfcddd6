"""Modules in folders that a task names: found there, taken out of sight afterwards, and read again
when one of their files has changed.

A runner serves many dispatches. Two of them may name different folders with modules of the same
name, and a module may be edited between two dispatches.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import OrderedDict
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

# Sets of folders whose modules are kept loaded.
_KEPT_MAX = 16

_Stamp = Optional[Tuple[int, int]]


class _Loaded:
    """The modules that came from some folders."""

    def __init__(self) -> None:
        self.modules: Dict[str, object] = {}
        self._stamps: Dict[str, _Stamp] = {}

    def keep(self, modules: Dict[str, object]) -> None:
        """Takes them over, as their files are now."""
        for module in modules.values():
            place = _file(module)
            if place is not None and place not in self._stamps:
                self._stamps[place] = _stamp(place)
        self.modules = modules

    def is_current(self) -> bool:
        """Whether no file has changed since it was loaded."""
        return all(_stamp(place) == stamp for place, stamp in self._stamps.items())


_kept: OrderedDict[Tuple[str, ...], _Loaded] = OrderedDict()


@contextlib.contextmanager
def importable(folders: Sequence[str]) -> Iterator[None]:
    """Has modules in these folders be found, before all others."""
    key = tuple(folders)
    if not key:
        yield
        return
    loaded = _kept.pop(key, None)
    others: Optional[_Others] = _Others()
    if loaded is None or not loaded.is_current():
        # Somebody may have imported modules from there on another way.
        loaded, others = _Loaded(), None
    _forget_listings(key)
    sys.path[:0] = key
    sys.modules.update(loaded.modules)  # type: ignore[arg-type]
    try:
        yield
    finally:
        came = _all() if others is None else others.followed_by()
        loaded.keep({name: module for name, module in came if _is_below(module, key)})
        for name in loaded.modules:
            sys.modules.pop(name, None)
        for folder in key:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)
        _kept[key] = loaded
        while len(_kept) > _KEPT_MAX:
            _kept.popitem(last=False)


class _Others:
    """The modules that are there before a task. Thousands, so that looking at each is dear."""

    def __init__(self) -> None:
        self._count = len(sys.modules)
        self._last = next(reversed(sys.modules))

    def followed_by(self) -> List[Tuple[str, object]]:
        """The modules that came since then; all, if that cannot be told."""
        came: List[Tuple[str, object]] = []
        # What comes, comes last.
        for name in reversed(list(sys.modules)):
            if name == self._last:
                break
            came.append((name, sys.modules.get(name)))
        return came if self._count + len(came) == len(sys.modules) else _all()


def _forget_listings(folders: Tuple[str, ...]) -> None:
    """Has what was added to these folders a moment ago be found."""
    for place, finder in list(sys.path_importer_cache.items()):
        if not place.startswith(folders):
            continue
        if finder is None:
            # It was not there when Python last looked.
            sys.path_importer_cache.pop(place, None)
        elif hasattr(finder, "invalidate_caches"):
            finder.invalidate_caches()


def _all() -> List[Tuple[str, object]]:
    return list(sys.modules.items())


def _is_below(module: object, folders: Tuple[str, ...]) -> bool:
    places = [_file(module)] if _file(module) else list(getattr(module, "__path__", None) or [])
    return any(
        isinstance(place, str) and place.startswith(os.path.join(folder, ""))
        for place in places
        for folder in folders
    )


def _file(module: object) -> Optional[str]:
    place = getattr(module, "__file__", None)
    return place if isinstance(place, str) else None


def _stamp(place: str) -> _Stamp:
    try:
        status = os.stat(place)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
