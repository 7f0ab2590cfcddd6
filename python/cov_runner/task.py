"""Runs one task: from the bytes of a function and its inputs to the bytes of its output."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import sys
import traceback
from types import TracebackType
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Union

from . import archive, modules, named, plain
from .frames import Blob, File, Task
from .hooks import Hooks
from .space import check_space, when_there_is_space

# As tracebacks name it, which is no path where this came as text.
_OWN_FOLDER = os.path.dirname((lambda: None).__code__.co_filename) + os.sep
_MESSAGE_CHARS_MAX = 1024 * 1024


class Settings(NamedTuple):
    """What all tasks of a runner have in common."""

    run_dir: str
    spool_dir: str
    dispatcher_url: str
    inline_bytes_max: int

    def spool_base(self, attempt: int) -> str:
        """Where large outputs of an attempt go; an ending is added."""
        return f"{self.spool_dir}/attempt-{attempt:016x}"


class Failure(NamedTuple):
    """A task that failed: its traceback."""

    text: str

    def message(self) -> str:
        """The traceback, shortened if need be, and what may help."""
        return _shortened(self.text) + _advice(self.text)


class NotStored(NamedTuple):
    """A task that returned, and whose output the server's disk did not take: why."""

    text: str


def run(task: Task, settings: Settings) -> Union[Blob, Failure, NotStored]:
    """Runs a task. Whatever its code raises becomes a `Failure`."""
    try:
        written = output_of(task)
        return _store(written, settings.spool_base(task.attempt), settings.inline_bytes_max)
    except _SpoolError as error:
        return NotStored(
            f"The task returned, but its output could not be written to the server's disk: {error}\n"
        )
    except BaseException as error:
        return failure(error)


def output_of(task: Task) -> archive.Written:
    """What a task returns. Raises what its code raises."""
    function = archive.parse(_content(task.function))
    archive.check_python(function)
    _go_to(task)
    hooks = Hooks(None if task.hooks is None else _content(task.hooks), task.run_callables)
    injected = hooks.before()
    if function.encoding() == plain.JSON:
        return _run_named(task, function, injected, hooks)
    what = f"the function of node {task.node}"
    inputs = Inputs(task)
    output = inputs.call(function.load(what), None, injected)
    hooks.after()
    unchanged = inputs.archive_of(output)
    if unchanged is not None:
        return unchanged
    # What it keeps need not take memory while the output is written.
    del inputs
    return archive.write(output, archive.CLOUDPICKLE, f"the output of node {task.node}")


def _run_named(
    task: Task, function: archive.Archive, injected: Dict[str, Any], hooks: Hooks
) -> archive.Written:
    document = function.load(f"the function of node {task.node}")
    target = named.read(document, task.node)
    folders = target.folders(None if task.work_dir is None else os.getcwd())
    with modules.importable(folders):
        output = Inputs(task).call(named.find(target, folders), target.shapes, injected)
        hooks.after()
        what = f"the output of node {task.node} (`{target.name}`)"
        return archive.write(output, target.output, what)


# Values that nobody can change, so that one object may stand for several inputs, and an input
# that is returned is the output as it came.
_UNCHANGING = (bytes, str)


class Inputs:
    """The inputs of a task, as its code gets them."""

    def __init__(self, task: Task) -> None:
        self._task = task
        # Unchanging values that came in files, by the file, each with its archive.
        self._kept: Dict[str, Tuple[Any, archive.Archive]] = {}

    def call(
        self,
        callable_: Callable[..., Any],
        shapes: Optional[List[Any]],
        injected: Dict[str, Any],
    ) -> Any:
        """What the callable returns for them."""
        task = self._task
        args = named.arguments(shapes, [self._value(node, blob) for node, blob in task.args])
        kwargs = {name: self._value(node, blob) for name, node, blob in task.kwargs}
        kwargs.update(injected)
        return callable_(*args, **kwargs)

    def archive_of(self, output: Any) -> Optional[archive.Written]:
        """The archive of a large input that was returned as it came, if it would be the same."""
        for value, source in self._kept.values():
            if value is output and source.is_as_written(output):
                return source.again()
        return None

    def _value(self, node: int, blob: Blob) -> Any:
        path = blob.path if isinstance(blob, File) else None
        if path in self._kept:
            return self._kept[path][0]
        source = archive.parse(_content(blob))
        value = source.load(f"the output of node {node}")
        if path is not None and type(value) in _UNCHANGING:
            self._kept[path] = (value, source)
        return value


def _content(blob: Blob) -> Union[bytes, memoryview]:
    if not isinstance(blob, File):
        return blob
    with open(blob.path, "rb") as file:
        # Most of a large archive may be the printed form, which nobody here reads.
        with contextlib.suppress(ValueError, OSError):
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return file.read()


def enter(task: Task, settings: Settings) -> None:
    """Sets what a task can see of its place: environment variables and covalent's context."""
    spec = {
        "electron_id": task.node,
        "args": [node for node, _ in task.args],
        "kwargs": {name: node for name, node, _ in task.kwargs},
    }
    _tell("COVALENT_DISPATCH_ID", task.dispatch)
    _tell("COVALENT_DISPATCHER_URL", settings.dispatcher_url)
    _tell("COVALENT_TASKS", json.dumps([spec]))
    _set_context(task.dispatch, task.node)


# The variables as the last task found them: what it made of them is undone before the next one.
_told: Dict[str, str] = {}


def _tell(name: str, value: str) -> None:
    if _told.get(name) != value:
        os.environ[name] = _told[name] = value


def _go_to(task: Task) -> None:
    if task.work_dir is None:
        return
    path = task.work_dir.path
    if task.work_dir.unique:
        path = os.path.join(path, task.dispatch, f"node_{task.node}")
    os.makedirs(path, exist_ok=True)
    os.chdir(path)


def _set_context(dispatch: str, node: int) -> None:
    # What `covalent.get_context()` returns. Not imported for its own sake.
    module: Any = sys.modules.get("covalent.executor.utils.context")
    if module is not None:
        module.current_context = module.Context(dispatch_id=dispatch, task_id=node)


def clear_context() -> None:
    """Ends what `covalent.get_context()` told of a task."""
    module: Any = sys.modules.get("covalent.executor.utils.context")
    if module is not None:
        module.current_context = module.unset_context


class _SpoolError(Exception):
    """The spool cannot be written to, and waiting does not help."""


def _store(written: archive.Written, spool_base: str, inline_bytes_max: int) -> Blob:
    if written.size() <= inline_bytes_max:
        return b"".join(written.pieces())
    path = spool_base + ".output"
    try:
        when_there_is_space(lambda: _write(written, path))
    except OSError as error:
        raise _SpoolError(error) from error
    return File(path)


def _write(written: archive.Written, path: str) -> None:
    check_space(os.path.dirname(path), written.size())
    try:
        with open(path, "wb") as file:
            for piece in written.pieces():
                file.write(piece)
    except OSError:
        # A part of it would keep the space that others wait for.
        _remove(path)
        raise


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def failure(error: BaseException) -> Failure:
    """What is told of what a task's code raised."""
    return Failure(_format(error))


def _format(error: BaseException) -> str:
    if isinstance(error, (plain.NoCrossing, named.NotFound)):
        # Where in our own code that was found is of no interest.
        return f"{error}\n"
    place = _user_frames(error.__traceback__)
    return "".join(traceback.TracebackException(type(error), error, place).format())


def _user_frames(place: Optional[TracebackType]) -> Optional[TracebackType]:
    """The traceback from the first frame on that is not ours; all of it if every frame is."""
    frame = place
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        frame = frame.tb_next
    return place if frame is None else frame


def _shortened(text: str) -> str:
    if len(text) <= _MESSAGE_CHARS_MAX:
        return text
    half = _MESSAGE_CHARS_MAX // 2
    return text[:half] + "\n[...]\n" + text[-half:]


def _advice(text: str) -> str:
    if "No module named 'covalent'" not in text:
        return ""
    return (
        "\nThis task needs covalent in the Python that runs tasks: "
        f"{sys.executable} -m pip install covalent==0.240.0\n"
    )
