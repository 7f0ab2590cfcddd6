"""Makes the package again where it has arrived as text. Runs by itself, before anything of it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.util
import json
import sys
import zlib

_BEGIN = "cov_worker_"


class _Sources(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds the modules of one bundle, and nothing else."""

    def __init__(self, package, texts):
        self._package = package
        self._texts = texts

    def find_spec(self, fullname, path=None, target=None):
        """The module, if it is one of these."""
        if self._text(fullname) is None:
            return None
        origin = f"<{fullname}>"
        is_package = self.is_package(fullname)
        return importlib.util.spec_from_loader(fullname, self, origin=origin, is_package=is_package)

    def is_package(self, fullname):
        """Whether it is the package itself."""
        return fullname == self._package

    def get_source(self, fullname):
        """Its text."""
        return self._text(fullname)

    def _text(self, fullname):
        if fullname == self._package:
            return self._texts["__init__"]
        package, _, name = fullname.rpartition(".")
        return self._texts.get(name) if package == self._package else None


def restore(packed, task):
    """The call of a task that was pickled with this bundle."""
    name = _BEGIN + hashlib.sha256(packed).hexdigest()[:16]
    if f"{name}.call" not in sys.modules:
        texts = json.loads(zlib.decompress(packed))
        # Two threads may come here together; what is found twice is imported once.
        sys.meta_path.append(_Sources(name, texts))
        importlib.import_module(name).BUNDLE = packed
    return importlib.import_module(f"{name}.call").Call(task)
