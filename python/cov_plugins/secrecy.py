"""Keeps credentials inside the host: their values are struck out of whatever leaves it.

What counts as a credential is told by its name, in the options of an executor and in the
environment. A value that is a path is none: it is the file that is secret.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import traceback
from typing import Any, Iterator, Set, TextIO, Tuple

from . import hearing

_STRUCK = "***"
_NAMES = re.compile(
    r"passw|passphrase|secret|token|credential|private_?key|access_?key|api_?key|(^|_)key$|(^|_)pwd$",
    re.IGNORECASE,
)
# Shorter ones stand in too many places that have nothing to do with them.
_CHARS_MIN = 4
_ENVIRONMENT_CHARS_MIN = 8
_DEPTH_MAX = 8
_VALUES_MAX = 4096


def _is_value(text: str) -> bool:
    is_path = text.startswith(("/", "~", "./", "../", "file:")) or os.path.exists(text)
    return len(text) >= _CHARS_MIN and not is_path


def _values(options: Any, is_secret: bool, depth: int) -> Iterator[str]:
    if depth > _DEPTH_MAX:
        return
    if isinstance(options, dict):
        for name, value in options.items():
            yield from _values(value, is_secret or bool(_NAMES.search(str(name))), depth + 1)
    elif isinstance(options, (list, tuple)):
        for value in options:
            yield from _values(value, is_secret, depth + 1)
    elif is_secret and isinstance(options, str) and _is_value(options):
        yield options


def _of_environment() -> Set[str]:
    found = _values(dict(os.environ), False, 0)
    return {value for value in found if len(value) >= _ENVIRONMENT_CHARS_MIN}


class Secrets:
    """The credentials that the options of one attempt hold, and all that were met before."""

    # The longest first, since one can be a part of another. What a later attempt's plugin writes
    # to the log can hold what an earlier one brought.
    _all: Tuple[str, ...] = ()
    _learning = threading.Lock()

    def __init__(self, options: Any) -> None:
        self.add(options)

    @classmethod
    def add(cls, options: Any) -> None:
        """Learns those of further options."""
        cls.learn(set(_values(options, False, 0)))

    @classmethod
    def learn(cls, values: Set[str]) -> None:
        """Learns values."""
        with cls._learning:
            if values.issubset(cls._all):
                return
            if len(cls._all) >= _VALUES_MAX:
                # Somebody makes them up. Those of the environment stay.
                cls._all = tuple(_of_environment())
            # Another tuple: threads that read do not wait for those that learn.
            cls._all = tuple(sorted(values.union(cls._all), key=len, reverse=True))

    @classmethod
    def hide(cls, text: str) -> str:
        """The text without them."""
        for value in cls._all:
            text = text.replace(value, _STRUCK)
        return text

    @classmethod
    def hide_bytes(cls, text: bytes) -> bytes:
        """The bytes without them."""
        for value in cls._all:
            text = text.replace(value.encode("utf-8", "surrogateescape"), _STRUCK.encode("ascii"))
        return text


class _Discreet:
    """A stream of the host's own process: without credentials, and without what attempts print."""

    def __init__(self, below: TextIO, is_error: bool) -> None:
        self._below = below
        self._is_error = is_error

    def write(self, text: str) -> int:
        """Writes, struck out."""
        heard = hearing.stream(self._is_error)
        if heard is not None:
            return heard.write(text)
        self._below.write(Secrets.hide(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)


def log_error(what: str, error: BaseException) -> None:
    """Writes to the host's log, whoever listens: what was tried, and where it failed."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if sys.__stderr__ is not None:
        sys.__stderr__.write(Secrets.hide(f"{what}: {text}"))
        sys.__stderr__.flush()


def guard_log() -> None:
    """From here on nothing that Python code prints in this process shows credentials."""
    Secrets.learn(_of_environment())
    streams: Any = sys
    streams.stdout = _Discreet(sys.stdout, False)
    streams.stderr = _Discreet(sys.stderr, True)
