"""What a plugin prints while it works on an attempt, beside what it gives as the attempt's output.

It follows the attempt into the threads of its pool. What nobody follows goes to the host's log.
"""

from __future__ import annotations

import contextlib
import contextvars
import io
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Iterator, Optional, Tuple

_CHARS_MAX = 4 * 1024 * 1024


class Heard(io.StringIO):
    """A text up to a limit; what is over it is dropped."""

    def write(self, text: str) -> int:
        """Writes what fits."""
        room = _CHARS_MAX - self.tell()
        if room > 0:
            super().write(text[:room])
        return len(text)


_current: "contextvars.ContextVar[Optional[Tuple[Heard, Heard]]]" = contextvars.ContextVar(
    "heard", default=None
)


def stream(is_error: bool) -> Optional[Heard]:
    """Where what is printed here and now belongs, if to an attempt."""
    streams = _current.get()
    return None if streams is None else streams[is_error]


@contextlib.contextmanager
def hearing(out: Heard, err: Heard) -> Iterator[None]:
    """Listens to what the body prints, and what it starts."""
    token = _current.set((out, err))
    try:
        yield
    finally:
        _current.reset(token)


class Pool(ThreadPoolExecutor):
    """Threads that know for which attempt they were called."""

    def submit(  # type: ignore[override]
        self, fn: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> "Future[Any]":
        """Calls in a thread."""
        return super().submit(contextvars.copy_context().run, fn, *args, **kwargs)
