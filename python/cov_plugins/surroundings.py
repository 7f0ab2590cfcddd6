"""What plugins find around them: covalent, with a configuration that is the host's own copy.

covalent writes its configuration when it is imported and when a plugin is loaded. The user's file
is read once, when the host starts, and never written.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import stat
import sys
from typing import Any
from urllib.parse import urlsplit

_DIR = "COVALENT_CONFIG_DIR"


class NoCovalent(Exception):
    """Covalent cannot be imported: why."""


def prepare(run_dir: str, dispatcher_url: str) -> str:
    """Imports covalent without its plugins; returns its version. Raises `NoCovalent`."""
    _own_configuration(run_dir)
    before = os.environ.get("COVALENT_PLUGIN_LOAD")
    # One plugin that cannot be imported would keep covalent from being imported.
    os.environ["COVALENT_PLUGIN_LOAD"] = "false"
    try:
        covalent = importlib.import_module("covalent")
        importlib.import_module("covalent.executor.utils.wrappers")
        configuration: Any = importlib.import_module("covalent._shared_files.config")
    except Exception as error:
        raise NoCovalent(f"{type(error).__name__}: {error}") from error
    finally:
        if before is None:
            del os.environ["COVALENT_PLUGIN_LOAD"]
        else:
            os.environ["COVALENT_PLUGIN_LOAD"] = before
    _name_dispatcher(configuration, dispatcher_url)
    return str(getattr(covalent, "__version__", "unknown"))


def _own_configuration(run_dir: str) -> None:
    folder = os.environ.get(_DIR) or os.environ.get("XDG_CONFIG_DIR")
    users = folder or os.path.expanduser("~/.config/covalent")
    own = os.path.join(run_dir, "covalent")
    os.makedirs(own, mode=stat.S_IRWXU, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(own, "covalent.conf"))
    with contextlib.suppress(OSError):
        shutil.copyfile(os.path.join(users, "covalent.conf"), os.path.join(own, "covalent.conf"))
    os.environ[_DIR] = own


def _name_dispatcher(configuration: Any, url: str) -> None:
    """Has plugins that call the dispatcher call this one."""
    parts = urlsplit(url)
    if not parts.hostname:
        return
    address = f"https://{parts.hostname}" if parts.scheme == "https" else parts.hostname
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        configuration.update_config({"dispatcher": {"address": address, "port": port}})
    except Exception as error:
        print(f"the dispatcher's address cannot be set: {error}", file=sys.stderr)


def covalent_version() -> str:
    """The version of the covalent that plugins find."""
    return str(getattr(importlib.import_module("covalent"), "__version__", "unknown"))
