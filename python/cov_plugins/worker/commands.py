"""Runs a command on a worker, as the server runs one beside itself."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import values
from .processes import Launch, Process, how_it_ended, read_file, scratch, tail, whether_unwanted

# The longest word that a command can be given: the limit of Linux, with its end. Bytes.
_WORD_BYTES_MAX = 128 * 1024 - 1
_SAID_BYTES_MAX = 4 * 1024

_PLAIN_LETTERS = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,+@%"
)

Parts = Tuple[str, str, bytes, bytes, bytes]


class _Failed(Exception):
    """The task asks for what cannot be."""


def run(task: Dict[str, Any]) -> Parts:
    """Runs the task; the parts of its answer."""
    with scratch() as folder:
        out, err = (os.path.join(folder, name) for name in ("stdout", "stderr"))
        try:
            kind, message, output = _run(task, folder, out, err)
        except (_Failed, values.NoValue) as error:
            kind, message, output = "task", str(error), b""
        return kind, message, output, read_file(out), read_file(err)


def _run(task: Dict[str, Any], folder: str, out: str, err: str) -> Tuple[str, str, bytes]:
    command = _command(task)
    inputs = _Inputs([value for _, value in task["args"]], os.path.join(folder, "inputs"))
    launch = _launch(task, command, inputs, folder)
    stdin = os.devnull
    if command.get("stdin") is not None:
        stdin = inputs.file(command["stdin"], os.path.join(folder, "stdin"))
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(open(stdin, "rb"))]
        streams += [stack.enter_context(open(path, "ab")) for path in (out, err)]
        with Process(launch, streams, folder) as process:
            if not process.wait(whether_unwanted()):
                process.end()
                return "killed", "", b""
            ended = process.ended()
    if ended.code is None:
        kind = "task" if ended.signal is not None else "runner"
        return kind, how_it_ended(ended, "The command") + _said(out, err), b""
    if ended.code not in (command.get("success") or [0]):
        return "task", f"The command exited with code {ended.code}.{_said(out, err)}", b""
    return "completed", "", _output(command, str(launch.folder), out)


def _command(task: Dict[str, Any]) -> Dict[str, Any]:
    said = "The function of this task describes no command"
    function = values.read(task["function"])
    if function.encoding != "json":
        raise _Failed(f"{said}: it is encoded as {function.encoding}")
    try:
        command = json.loads(function.data)["command"]
        command["argv"]
    except (ValueError, KeyError, TypeError) as error:
        raise _Failed(f"{said}: {error!r}") from None
    return dict(command)


def _launch(
    task: Dict[str, Any], command: Dict[str, Any], inputs: "_Inputs", folder: str
) -> Launch:
    work, tmp = os.path.join(folder, "work"), os.path.join(folder, "tmp")
    os.mkdir(work)
    os.mkdir(tmp)
    # A path that is absolute replaces the scratch folder.
    place = os.path.join(work, command.get("workdir") or "")
    try:
        os.makedirs(place, exist_ok=True)
    except OSError as error:
        raise _Failed(f"the folder to run in, {place}: {error}") from None
    words = inputs.words(command["argv"])
    if not words or not words[0]:
        raise _Failed("the command has no program")
    variables = dict(os.environ)
    variables["COV_DISPATCH_ID"] = task["dispatch"]
    variables["COV_NODE_ID"] = str(task["node"])
    variables["TMPDIR"] = tmp
    for name, template in (command.get("env") or {}).items():
        variables[name] = inputs.text(template)
    return Launch(words[0], words[1:], variables, place, task["memory_bytes_max"], task["grace"])


def _output(command: Dict[str, Any], folder: str, out: str) -> bytes:
    output = command.get("output") or "stdout"
    if output == "stdout":
        return values.archive(read_file(out))
    name = output["file"]
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return values.archive(file.read())
    except OSError as error:
        raise _Failed(
            f"The command succeeded, but its output `{name}` cannot be read in {folder}: {error}"
        ) from None


def _said(out: str, err: str) -> str:
    """The last lines that a command printed to its error stream, or else at all."""
    for path, name in ((err, "error stream"), (out, "output")):
        said = tail(read_file(path), _SAID_BYTES_MAX).rstrip()
        if said:
            return f" The end of its {name}:\n{said}"
    return " It printed nothing."


class _Input(NamedTuple):
    """A place in a template: which values, and how they are put in."""

    first: int
    count: int
    form: str
    quote: Optional[str]
    name: Optional[str]

    def single(self, index: int) -> "_Input":
        """The place for one of the values."""
        return self._replace(first=index, count=1)

    def indices(self) -> range:
        """The values that it stands for."""
        return range(self.first, self.first + self.count)


def _input(part: Dict[str, Any]) -> _Input:
    return _Input(
        int(part["input"]),
        int(part.get("count", 1)),
        str(part.get("as", "line")),
        part.get("quote"),
        part.get("name"),
    )


class _Inputs:
    """The values of one attempt, on their way into templates."""

    def __init__(self, archives: List[bytes], folder: str) -> None:
        self._archives = archives
        self._folder = folder

    def words(self, templates: List[Any]) -> List[str]:
        """The words of a command line."""
        words: List[str] = []
        for template in templates:
            single = template[0] if isinstance(template, list) and len(template) == 1 else None
            if isinstance(single, dict) and single.get("as") == "files" and not single.get("quote"):
                # Several paths are several words.
                words.extend(self._paths(_input(single)))
            else:
                words.append(self.text(template))
        return words

    def text(self, template: Any) -> str:
        """A template as a text that can be a word or a variable."""
        parts = [template] if isinstance(template, str) else template
        return _checked("".join(self._part(part) for part in parts))

    def _part(self, part: Any) -> str:
        if isinstance(part, str):
            return part
        place = _input(part)
        return " ".join(_quoted(word, place.quote) for word in self._inserted(place))

    def _inserted(self, place: _Input) -> List[str]:
        if place.form == "file":
            return [self._path(place)]
        if place.form == "files":
            return self._paths(place)
        data = self._copied(place)
        if len(data) > _WORD_BYTES_MAX:
            raise _Failed(
                f"{self._called(place.first)} cannot be handed over: it has more than "
                f"{_WORD_BYTES_MAX} bytes, which no word of a command can have: use it as a file, "
                "or as standard input"
            )
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            called = self._called(place.first)
            raise _Failed(f"{called} is no text: hand it over as a file") from None
        return [text.rstrip("\n") if place.form == "line" else text]

    def _copied(self, place: _Input) -> bytes:
        pieces: List[bytes] = []
        for index in place.indices():
            if index >= len(self._archives):
                raise _Failed(f"{self._called(index)} is not there")
            try:
                piece = values.plain(self._archives[index])
            except values.NoValue as error:
                raise _Failed(f"{self._called(index)} cannot be handed over: {error}") from None
            # Each of several ends with a newline.
            is_open = place.count > 1 and piece != b"" and not piece.endswith(b"\n")
            pieces.append(piece + b"\n" if is_open else piece)
        return b"".join(pieces)

    def _called(self, index: int) -> str:
        return f"input {index} of {len(self._archives)}"

    def _path(self, place: _Input) -> str:
        """The path of one file that holds the values."""
        own = str(place.first) if place.count == 1 else f"{place.first}+{place.count}"
        folder = os.path.join(self._folder, own)
        path = os.path.join(folder, _file_name(place.name))
        if not os.path.exists(path):
            os.makedirs(folder, exist_ok=True)
            with open(path, "wb") as file:
                file.write(self._copied(place))
        return path

    def _paths(self, place: _Input) -> List[str]:
        return [self._path(place.single(index)) for index in place.indices()]

    def file(self, template: Any, path: str) -> str:
        """The path of a file that holds what the template gives."""
        parts = [template] if isinstance(template, str) else template
        if len(parts) == 1 and isinstance(parts[0], dict) and parts[0].get("as") == "file":
            return self._path(_input(parts[0]))
        with open(path, "wb") as file:
            for part in parts:
                file.write(self._read(part))
        return path

    def _read(self, part: Any) -> bytes:
        if isinstance(part, str):
            return part.encode("utf-8")
        place = _input(part)
        if place.form == "text":
            return self._copied(place)
        return "\n".join(self._inserted(place)).encode("utf-8")


def _file_name(name: Optional[str]) -> str:
    """A name that stays within its folder."""
    if name in (None, "", ".", "..") or "/" in str(name) or "\0" in str(name):
        return "input"
    return str(name)


def _checked(text: str) -> str:
    size = len(text.encode("utf-8", "surrogateescape"))
    if size > _WORD_BYTES_MAX:
        raise _Failed(
            f"a word of the command would have {size} bytes; the system takes {_WORD_BYTES_MAX} at "
            "most: hand large values over as files, or as standard input"
        )
    if "\0" in text:
        raise _Failed("a word of the command would hold a NUL byte: hand such values over as files")
    return text


def _quoted(text: str, quote: Optional[str]) -> str:
    """The text as a shell has to see it, so that it takes every character for itself."""
    single = text.replace("'", "'\\''")
    if quote == "bare":
        return text if text and _PLAIN_LETTERS.issuperset(text) else f"'{single}'"
    if quote == "single":
        return single
    if quote == "double":
        return "".join(f"\\{letter}" if letter in '"\\$`' else letter for letter in text)
    return text
