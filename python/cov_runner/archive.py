"""The archive in which values travel: Covalent's layout, byte for byte.

Two offsets (u64, big-endian), a JSON header, the value's printed form, and the encoded value up to
the end. It is pickled unless the header names another encoding, and in base64 unless the header
says that it is binary; what Covalent cannot read in any case is written in binary.
"""

from __future__ import annotations

import binascii
import functools
import json
import platform
from typing import Any, Dict, Iterator, NamedTuple, Optional, Union

import cloudpickle

from . import plain
from .plain import NoCrossing

CLOUDPICKLE = "cloudpickle"

_PREFIX_BYTES = 16
# A multiple of three, so that the pieces' base64 forms can be joined.
_PIECE_BYTES = 3 * 256 * 1024

_UNREAD = (
    "cannot be read by Python, which reads cloudpickle, json and array; "
    'a Rust electron says `output = "json"` for it'
)

# Headers of archives are few beside the archives; those that many share are read and written once.
_HEADERS_KEPT = 256
_KEPT_BYTES_MAX = 4 * 1024

PY_VERSION = platform.python_version()


class VersionMismatch(RuntimeError):
    """A function was pickled by another minor version of Python."""


class Archive(NamedTuple):
    """A value that has not been decoded yet. The header is shared with others and only read."""

    header: Dict[str, Any]
    data: memoryview
    whole: memoryview

    def encoding(self) -> str:
        """How the value is encoded."""
        return str(self.header.get("encoding") or CLOUDPICKLE)

    def load(self, what: str) -> Any:
        """Decodes the value; `what` says which one it is when it cannot be read."""
        encoding = self.encoding()
        if encoding not in (CLOUDPICKLE, plain.JSON, plain.ARRAY):
            raise NoCrossing(f"{what}, {self._kind()}encoded as {encoding}, {_UNREAD}")
        raw = self.data if self.header.get("binary") else binascii.a2b_base64(self.data)
        if encoding == CLOUDPICKLE:
            return cloudpickle.loads(raw)
        if encoding == plain.JSON:
            return json.loads(bytes(raw))
        try:
            return plain.from_array(raw)
        except NoCrossing as error:
            raise NoCrossing(f"{what}, encoded as array, cannot be read: {error}") from None

    def is_as_written(self, value: Any) -> bool:
        """Whether the archive of this value, which it holds, would be written the same here."""
        return self.header == _members(_doc(value), _name(value), CLOUDPICKLE)

    def again(self) -> Written:
        """The same archive."""
        string_offset = int.from_bytes(self.whole[:8], "big")
        data_offset = len(self.whole) - len(self.data)
        head, printed = self.whole[:string_offset], self.whole[string_offset:data_offset]
        return Written(bytes(head), printed, self.data, True)

    def _kind(self) -> str:
        attrs = self.header.get("attrs")
        name = attrs.get("name") if isinstance(attrs, dict) else None
        return f"a `{name}` " if name else ""


def parse(archive: Union[bytes, memoryview]) -> Archive:
    """Reads header and place of the data; decodes nothing."""
    view = memoryview(archive)
    string_offset = int.from_bytes(view[:8], "big")
    data_offset = int.from_bytes(view[8:_PREFIX_BYTES], "big")
    if not _PREFIX_BYTES <= string_offset <= data_offset <= len(view):
        raise ValueError("these bytes are no transportable object")
    header = bytes(view[_PREFIX_BYTES:string_offset])
    read = _read_kept if len(header) <= _KEPT_BYTES_MAX else _read
    return Archive(read(header), view[data_offset:], view)


def _read(header: bytes) -> Dict[str, Any]:
    return json.loads(str(header, "utf-8"))  # type: ignore[no-any-return]


_read_kept = functools.lru_cache(_HEADERS_KEPT)(_read)


def check_python(archive: Archive) -> None:
    """Refuses a function that another minor version of Python pickled."""
    theirs = str(archive.header.get("py_version") or "")
    if theirs and theirs.split(".")[:2] != PY_VERSION.split(".")[:2]:
        raise VersionMismatch(
            f"this function was pickled by Python {theirs}, but tasks run with {PY_VERSION}; "
            "use the same minor version on both sides (the server's `--python` chooses its own)"
        )


class Written(NamedTuple):
    """A value's archive, in parts that are not joined yet."""

    head: bytes
    printed: Union[bytes, memoryview]
    data: Union[bytes, memoryview]
    # Whether the data goes as it is, and not in base64.
    is_binary: bool

    def size(self) -> int:
        """Bytes that the archive will have."""
        length = len(self.data)
        data = length if self.is_binary else (length + 2) // 3 * 4
        return len(self.head) + len(self.printed) + data

    def pieces(self) -> Iterator[Union[bytes, memoryview]]:
        """The archive, from front to end."""
        yield self.head
        yield self.printed
        if self.is_binary:
            yield self.data
            return
        view = memoryview(self.data)
        for start in range(0, len(view), _PIECE_BYTES):
            yield binascii.b2a_base64(view[start : start + _PIECE_BYTES], newline=False)


def write(value: Any, encoding: str, what: str) -> Written:
    """Encodes a value and prepares its archive; `what` says which one it is."""
    data = _encode(value, encoding, what)
    printed = _printed(value)
    header = _header(_doc(value), _name(value), encoding)
    string_offset = _PREFIX_BYTES + len(header)
    data_offset = string_offset + len(printed)
    offsets = string_offset.to_bytes(8, "big") + data_offset.to_bytes(8, "big")
    return Written(offsets + header, printed, data, encoding != CLOUDPICKLE)


def _header(doc: Optional[str], name: str, encoding: str) -> bytes:
    short = len(doc or "") + len(name) <= _KEPT_BYTES_MAX
    return (_written_kept if short else _written)(doc, name, encoding)


def _written(doc: Optional[str], name: str, encoding: str) -> bytes:
    return json.dumps(_members(doc, name, encoding)).encode("ascii")


def _members(doc: Optional[str], name: str, encoding: str) -> Dict[str, Any]:
    header: Dict[str, Any] = {
        "py_version": PY_VERSION,
        "cloudpickle_version": cloudpickle.__version__,
        "attrs": {"doc": doc, "name": name},
    }
    if encoding != CLOUDPICKLE:
        header["encoding"] = encoding
        header["binary"] = True
    return header


_written_kept = functools.lru_cache(_HEADERS_KEPT)(_written)


def _encode(value: Any, encoding: str, what: str) -> bytes:
    if encoding == CLOUDPICKLE:
        return cloudpickle.dumps(value)  # type: ignore[no-any-return]
    kind = plain.type_name(value)
    try:
        if encoding == plain.JSON:
            return plain.to_json(value)
        if encoding == plain.ARRAY:
            return plain.to_array(value)
    except NoCrossing as error:
        raise NoCrossing(
            f"{what}, a `{kind}` in Python, cannot be encoded as {encoding}: {error}. "
            "As cloudpickle, only Python would read it"
        ) from None
    raise NoCrossing(
        f"{what}, a `{kind}` in Python, cannot be encoded as {encoding}, which Python does not "
        "write; it writes cloudpickle, json and array"
    )


def _printed(value: Any) -> bytes:
    # What a value prints is for people; a value that cannot be printed is still a result.
    try:
        text = str(value)
    except Exception as error:
        text = f"<{type(value).__name__}: str() raised {type(error).__name__}>"
    return text.encode("utf-8", "backslashreplace")


def _doc(value: Any) -> Optional[str]:
    try:
        doc = getattr(value, "__doc__", "")
    except Exception:
        return ""
    return doc if doc is None or isinstance(doc, str) else ""


def _name(value: Any) -> str:
    try:
        name = getattr(value, "__name__", "")
    except Exception:
        return ""
    return name if isinstance(name, str) else ""
