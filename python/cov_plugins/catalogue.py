"""Which executors there are, by name, and how one is made. Loads plugins when they are asked for.

A plugin is a module whose `EXECUTOR_PLUGIN_NAME` names a class in it. Plugins come with covalent,
as files of a folder, and as installed packages; of two with the same name the one that comes later
in this order counts, as with Covalent. One that cannot be loaded harms none but itself.
"""

from __future__ import annotations

import functools
import glob
import importlib
import importlib.util
import os
import sys
import threading
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from .frames import Engine, Found
from .secrecy import Secrets, log_error

_GROUP = "covalent.executor.executor_plugins"
# Covalent's own attributes of `covalent.executor`, by the plugin that they come from.
_BUILT_IN = {"LocalExecutor": "local", "DaskExecutor": "dask", "RemoteExecutor": "remote_executor"}
# What each executor has, and the contract's own code reads.
_BASE_ATTRIBUTES = {
    "log_stdout": "",
    "log_stderr": "",
    "cache_dir": "",
    "time_limit": -1,
    "retries": 0,
}
# Those that are no executors: one is the server's own, the other a base for others.
_NOT_HOSTED = ("local", "remote_executor")


class NotUsable(Exception):
    """An executor cannot be used: why."""


class NoSuch(Exception):
    """There is no executor of this name: the names that there are."""

    def __init__(self, names: List[str]) -> None:
        super().__init__(names)
        self.names = names


class Plugin:
    """One that was found. Not loaded before it is asked for."""

    def __init__(self, name: str, origin: str, load: Callable[[], Any]) -> None:
        self.name = name
        self.origin = origin
        self.fault: Optional[str] = None
        self._load = load
        self._class: Any = None
        self._lock = threading.Lock()

    def executor_class(self) -> Any:
        """Its class. Raises `NotUsable` if it cannot be loaded; a later call tries again."""
        with self._lock:
            if self._class is None:
                self._class = self._loaded()
            return self._class

    def is_managed(self) -> bool:
        """Whether its jobs outlive the host. Loads it."""
        kind = self.executor_class()
        return bool(getattr(kind, "SUPPORTS_MANAGED_EXECUTION", False)) and polls(kind)

    def found(self) -> Found:
        """What the server is told of it. Loads it."""
        try:
            managed = self.is_managed()
        except NotUsable as error:
            return Found(self.name, False, self.origin, Secrets.hide(str(error)))
        return Found(self.name, managed, self.origin, None)

    def _loaded(self) -> Any:
        self.fault = None
        try:
            module = self._load()
            wanted = getattr(module, "executor_plugin_name", None)
            wanted = wanted or getattr(module, "EXECUTOR_PLUGIN_NAME", None)
            if not wanted:
                raise NotUsable("it does not define EXECUTOR_PLUGIN_NAME")
            kind = getattr(module, wanted, None)
            if not isinstance(kind, type) or kind.__module__ != module.__name__:
                raise NotUsable(
                    f"it defines no class `{wanted}`, which its EXECUTOR_PLUGIN_NAME names"
                )
        except NotUsable as error:
            self.fault = f"The executor `{self.name}` ({self.origin}) cannot be used: {error}"
        except BaseException as error:
            log_error(self.origin, error)
            why = f"{type(error).__name__}: {error}"
            self.fault = f"The executor `{self.name}` ({self.origin}) cannot be loaded: {why}"
        if self.fault is not None:
            raise NotUsable(self.fault)
        _publish(self.name, kind, module)
        return kind


def polls(kind: Any) -> bool:
    """Whether a class says itself when its jobs are over."""
    base: Any = importlib.import_module("covalent.executor.base")
    return getattr(kind, "poll", None) not in (base.AsyncBaseExecutor.poll, base.BaseExecutor.poll)


def _publish(name: str, kind: Any, module: Any) -> None:
    """What Covalent does with a plugin that it loaded."""
    executors: Any = importlib.import_module("covalent.executor")
    configuration: Any = importlib.import_module("covalent._shared_files.config")
    executors._executor_manager.executor_plugins_map[name] = kind
    setattr(executors, kind.__name__, kind)
    defaults = getattr(module, "_EXECUTOR_PLUGIN_DEFAULTS", None)
    if isinstance(defaults, dict):
        configuration.update_config({"executors": {name: defaults}}, override_existing=False)


class Catalogue:
    """All plugins. Any thread may ask."""

    def __init__(self, executor_dir: str) -> None:
        self._executor_dir = executor_dir
        self._plugins: Dict[str, Plugin] = {}
        self._lock = threading.Lock()
        self.look()
        _provide_built_ins(self)

    def look(self) -> None:
        """Looks for plugins. Those that were loaded stay as they are."""
        with self._lock:
            found = {plugin.name: plugin for plugin in _all_plugins(self._executor_dir)}
            for name, plugin in found.items():
                known = self._plugins.get(name)
                if known is None or known.origin != plugin.origin or known.fault is not None:
                    self._plugins[name] = plugin
            for name in [name for name in self._plugins if name not in found]:
                del self._plugins[name]

    def names(self) -> List[str]:
        """The names of those that can be hosted."""
        with self._lock:
            return sorted(name for name in self._plugins if name not in _NOT_HOSTED)

    def plugin(self, name: str) -> Plugin:
        """The plugin of this name. Raises `NoSuch`."""
        for _ in range(2):
            plugin = self._plugins.get(name)
            if plugin is not None and name not in _NOT_HOSTED:
                return plugin
            self.look()
        raise NoSuch(self.names())

    def built_in(self, name: str) -> Plugin:
        """A plugin that comes with covalent, hosted or not."""
        return self._plugins[name]

    def is_covalents(self, name: str) -> bool:
        """Whether the plugin of this name is one that comes with covalent."""
        plugin = self._plugins.get(name)
        return plugin is not None and plugin.origin == _covalents_origin(name)

    def found(self) -> List[Found]:
        """All that can be hosted. Loads them."""
        self.look()
        return [self.plugin(name).found() for name in self.names()]


def _provide_built_ins(catalogue: Catalogue) -> None:
    """Has `covalent.executor` load what it offers when it is asked for, and not before."""

    def attribute(name: str) -> Any:
        if name not in _BUILT_IN:
            raise AttributeError(f"module 'covalent.executor' has no attribute {name!r}")
        try:
            return catalogue.built_in(_BUILT_IN[name]).executor_class()
        except NotUsable as error:
            raise AttributeError(str(error)) from error

    executors: Any = importlib.import_module("covalent.executor")
    executors.__getattr__ = attribute


def _all_plugins(executor_dir: str) -> List[Plugin]:
    executors: Any = importlib.import_module("covalent.executor")
    configuration: Any = importlib.import_module("covalent._shared_files.config")
    own = os.path.join(os.path.dirname(str(executors.__file__)), "executor_plugins")
    plugins = [
        Plugin(name, _covalents_origin(name), functools.partial(_import, _covalents_origin(name)))
        for name in sorted(_names_in(own))
    ]
    folders = [executor_dir, os.environ.get("COVALENT_EXECUTOR_DIR", "")]
    folders.append(str(configuration.get_config("sdk.executor_dir")))
    for folder in dict.fromkeys(":".join(folders).split(":")):
        if folder:
            plugins.extend(_files_of(os.path.abspath(os.path.expanduser(folder))))
    plugins.extend(_installed())
    return plugins


def _covalents_origin(name: str) -> str:
    return f"covalent.executor.executor_plugins.{name}"


def _names_in(folder: str) -> List[str]:
    files = [os.path.basename(path) for path in glob.glob(os.path.join(folder, "*.py"))]
    return [name[: -len(".py")] for name in files if name != "__init__.py"]


def _files_of(folder: str) -> List[Plugin]:
    return [
        Plugin(
            name,
            os.path.join(folder, name + ".py"),
            functools.partial(_load_file, os.path.join(folder, name + ".py")),
        )
        for name in sorted(_names_in(folder))
    ]


def _load_file(path: str) -> Any:
    # The path as the module's name is what Covalent makes of it, and what clients send.
    name = path[: -len(".py")]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # A class is found again by its module's name when something of it is pickled here.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _installed() -> List[Plugin]:
    return [
        Plugin(entry.module.split(".")[-1], entry.module, functools.partial(_import, entry.module))
        for entry in _entry_points()
    ]


class _Entry(NamedTuple):
    module: str


def _entry_points() -> List[_Entry]:
    try:
        from importlib import metadata
    except ImportError:
        return []
    importlib.invalidate_caches()
    points: Any = metadata.entry_points()
    chosen = points.select(group=_GROUP) if hasattr(points, "select") else points.get(_GROUP, [])
    return [_Entry(str(point.value).split(":")[0].strip()) for point in chosen]


def _import(module: str) -> Any:
    return importlib.import_module(module)


def make(plugin: Plugin, engine: Engine, secrets: Secrets) -> Any:
    """An executor as the client made it. Raises `NotUsable`."""
    kind = plugin.executor_class()
    configuration: Any = importlib.import_module("covalent._shared_files.config")
    attributes = engine.data.get("attributes")
    try:
        options = configuration.get_config(f"executors.{engine.name}")
    except KeyError:
        options = {}
    secrets.add(options)
    try:
        executor = kind(**options)
    except Exception as error:
        if not isinstance(attributes, dict):
            log_error(plugin.origin, error)
            why = f"{type(error).__name__}: {error}"
            raise NotUsable(f"The executor `{engine.name}` cannot be made: {why}") from error
        # The client made one; what it holds is all that there is to one.
        executor = kind.__new__(kind)
    if isinstance(attributes, dict):
        # Who writes by hand what the SDK writes leaves out what need not be said.
        said = {**_BASE_ATTRIBUTES, **vars(executor), **attributes}
        executor.from_dict({**engine.data, "attributes": said})
    return executor
