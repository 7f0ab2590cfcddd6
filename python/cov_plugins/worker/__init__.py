"""What runs programs and commands on a worker of an engine: a small package that travels as text.

Engines move functions as pickles. These would hold bytecode, which only the same minor version of
Python reads, and a worker need not have this package. So what is pickled is a `Call`: the sources
of this package, compressed, and the task. The worker makes a package of them, once per process,
under a name that holds their digest: servers of different versions can share a worker.

Nothing here imports what the standard library of Python 3.8 does not have. It needs Linux.
"""

from __future__ import annotations

import json
import os
import zlib
from typing import Dict, Optional

_OWN = (
    "__init__",
    "call",
    "commands",
    "fetch",
    "guard",
    "loader",
    "processes",
    "programs",
    "values",
    "wire",
)
_RUNNER = ("processes", "system")

# Set by the loader where the package was made of its sources.
BUNDLE: Optional[bytes] = None


def bundle() -> bytes:
    """The sources of this package and of what its guard needs, compressed."""
    global BUNDLE
    if BUNDLE is None:
        BUNDLE = _bundled()
    return BUNDLE


def sources(packed: bytes) -> Dict[str, str]:
    """What a bundle holds: texts by the names of modules."""
    texts: Dict[str, str] = json.loads(zlib.decompress(packed))
    return texts


def _bundled() -> bytes:
    own = os.path.dirname(os.path.abspath(__file__))
    runner = os.path.join(os.path.dirname(os.path.dirname(own)), "cov_runner")
    texts = {name: _read(own, name) for name in _OWN}
    texts.update({f"runner/{name}": _read(runner, name) for name in _RUNNER})
    return zlib.compress(json.dumps(texts, sort_keys=True).encode("utf-8"), 9)


def _read(folder: str, name: str) -> str:
    with open(os.path.join(folder, f"{name}.py"), encoding="utf-8") as file:
        return file.read()
