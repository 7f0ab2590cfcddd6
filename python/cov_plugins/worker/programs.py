"""Runs an electron of a program: fetches the program, starts it as a runner, hands it the task."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from . import fetch, wire
from .processes import (
    LOOK_S,
    Ended,
    Launch,
    Process,
    how_it_ended,
    read_file,
    scratch,
    tail,
    whether_unwanted,
)

# Payloads up to this travel in frames, larger ones as files. Bytes.
_INLINE_BYTES_MAX = 128 * 1024
_SAID_BYTES_MAX = 2_000
# How often, in looks, a program may say nothing before its hello: two minutes.
_GREETING_LOOKS = int(120 / LOOK_S)
_NOT_STARTED = (126, 127)

Parts = Tuple[str, str, bytes, bytes, bytes]


class _Place(NamedTuple):
    """Where an attempt finds and leaves what belongs to it."""

    folder: str

    def path(self, name: str) -> str:
        """A file of the attempt."""
        return os.path.join(self.folder, name)


def run(task: Dict[str, Any]) -> Parts:
    """Runs the task; the parts of its answer."""
    try:
        program = fetch.program(task["program"])
    except fetch.NotFetched as error:
        return "runner", str(error), b"", b"", b""
    with scratch() as folder:
        place = _Place(folder)
        kind, message, output = _serve(task, program, place)
        ended = kind in ("completed", "task") and os.path.exists(place.path("out.reported"))
        names = ("out.reported", "err.reported") if ended else ("out", "err")
        stdout, stderr = (read_file(place.path(name)) for name in names)
        return kind, message, output, stdout, stderr


def _serve(task: Dict[str, Any], program: str, place: _Place) -> Tuple[str, str, bytes]:
    frame = wire.run(_laid_down(task, place))
    launch = Launch(
        program=program,
        arguments=[],
        variables=_variables(task, place),
        folder=None,
        memory_bytes_max=task["memory_bytes_max"],
        grace=task["grace"],
    )
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as stack:
        stack.enter_context(ours)
        with theirs, open(place.path("out"), "ab") as out, open(place.path("err"), "ab") as err:
            process = stack.enter_context(Process(launch, (theirs, out, err), place.folder))
        is_unwanted = whether_unwanted()
        report, why = _converse(wire.Connection(ours), ours, frame, is_unwanted)
        if report is not None:
            return _take(report, place)
        if why is None:
            return "killed", "", b""
        ended = process.end() if why.must_end else _last(process, is_unwanted)
        return why.kind, why.sentence(ended, task, place), b""


def _last(process: Process, is_unwanted: Callable[[], bool]) -> Ended:
    process.wait(is_unwanted)
    return process.end()


class _Why(NamedTuple):
    """Why there is no report."""

    kind: str
    has_greeted: bool
    # It has not ended by itself.
    must_end: bool

    def sentence(self, ended: Ended, task: Dict[str, Any], place: _Place) -> str:
        """What is told of it."""
        if self.has_greeted:
            died = how_it_ended(ended, "The process that ran this task")
            return died + _about_memory(ended, task["memory_bytes_max"])
        said = read_file(place.path("out")) + read_file(place.path("err"))
        printed = tail(said, _SAID_BYTES_MAX).strip()
        printed = f"It printed:\n{printed}" if printed else "It printed nothing."
        if self.must_end:
            how = "The program said nothing for two minutes, and was killed."
        else:
            how = how_it_ended(ended, "The program") + " It had not taken the task."
        if ended.code in _NOT_STARTED:
            return f"{how} Is it built for this worker's system and processor? {printed}"
        return f"{how} The first line of its `main` must be `cov::runner::init()`. {printed}"


def _about_memory(ended: Ended, bytes_max: Optional[int]) -> str:
    if bytes_max is None or ended.signal is None:
        return ""
    return (
        f" Its memory is limited to {bytes_max >> 20} MB: a program that gets no more is ended by "
        "SIGABRT, with a line about it on its error stream."
    )


def _converse(
    connection: wire.Connection,
    sock: socket.socket,
    frame: bytes,
    is_unwanted: Callable[[], bool],
) -> Tuple[Optional[wire.Ended], Optional[_Why]]:
    """Hands over the task and waits for its end. Neither: nobody wants it any more."""
    looks, has_greeted = 0, False
    while True:
        is_there, report = connection.receive(LOOK_S)
        if isinstance(report, wire.Ended):
            return report, None
        if isinstance(report, wire.Hello):
            if report.version != wire.VERSION:
                raise ValueError(
                    f"the program speaks version {report.version} of the runner's messages, and "
                    f"the server version {wire.VERSION}: build it with the `cov` of that release"
                )
            has_greeted = True
            sock.settimeout(None)
            # A program that is gone already is found out at the next look.
            with contextlib.suppress(OSError):
                sock.sendall(frame)
        if not is_there:
            return None, _Why("runner", has_greeted, must_end=False)
        if is_unwanted():
            return None, None
        looks += 1
        if not has_greeted and looks > _GREETING_LOOKS:
            return None, _Why("runner", has_greeted, must_end=True)


def _take(report: wire.Ended, place: _Place) -> Tuple[str, str, bytes]:
    for name, blob in (("out.reported", report.stdout), ("err.reported", report.stderr)):
        with open(place.path(name), "wb") as file:
            file.write(_content(blob))
    if report.output is None:
        return "task", report.message, b""
    return "completed", "", _content(report.output)


def _content(blob: wire.Blob) -> bytes:
    return read_file(os.fsdecode(blob.path)) if isinstance(blob, wire.File) else blob


def _laid_down(task: Dict[str, Any], place: _Place) -> Dict[str, Any]:
    """The task with its large payloads in files."""
    os.mkdir(place.path("inputs"))
    count = 0

    def blob(data: Optional[bytes]) -> Optional[wire.Blob]:
        nonlocal count
        if data is None or len(data) <= _INLINE_BYTES_MAX:
            return data
        count += 1
        path = place.path(os.path.join("inputs", str(count)))
        with open(path, "wb") as file:
            file.write(data)
        return wire.File(os.fsencode(path))

    args = [(node, blob(value)) for node, value in task["args"]]
    kwargs = [(name, node, blob(value)) for name, node, value in task["kwargs"]]
    laid = {"function": blob(task["function"]), "hooks": blob(task["hooks"])}
    return {**task, **laid, "args": args, "kwargs": kwargs}


def _variables(task: Dict[str, Any], place: _Place) -> Dict[str, str]:
    os.mkdir(place.path("spool"))
    variables = dict(os.environ)
    variables.update(
        {
            "COV_RUNNER": "1",
            "COV_RUNNER_STDOUT": place.path("out"),
            "COV_RUNNER_STDERR": place.path("err"),
            "COV_RUNNER_SPOOL": place.path("spool"),
            "COV_RUNNER_INLINE_BYTES_MAX": str(_INLINE_BYTES_MAX),
            "COV_PROGRAM": task["program"]["digest"],
        }
    )
    return variables
