"""Archives of values, as far as commands need them: plain data in, text or bytes out."""

from __future__ import annotations

import binascii
import json
from typing import Any, Dict, NamedTuple

_PREFIX_BYTES = 16
_ARRAY_MAGIC = b"\x93NUMPY\x01\x00"
_ARRAY_ALIGNMENT = 64
_PREVIEW_BYTES_MAX = 120


class NoValue(Exception):
    """A value that cannot be handed to a command, and why."""


class Value(NamedTuple):
    """A value as its archive has it."""

    encoding: str
    data: bytes


def read(archive: bytes) -> Value:
    """Reads an archive; decodes nothing but base64."""
    string_offset = int.from_bytes(archive[:8], "big")
    data_offset = int.from_bytes(archive[8:_PREFIX_BYTES], "big")
    if not _PREFIX_BYTES <= string_offset <= data_offset <= len(archive):
        raise NoValue("it is no archive of a value")
    try:
        header: Dict[str, Any] = json.loads(archive[_PREFIX_BYTES:string_offset])
        if header.get("binary"):
            data = archive[data_offset:]
        else:
            data = binascii.a2b_base64(memoryview(archive)[data_offset:])
    except ValueError as error:
        raise NoValue(f"its archive is damaged: {error}") from None
    return Value(str(header.get("encoding") or "cloudpickle"), data)


def plain(archive: bytes) -> bytes:
    """A value as a command reads it.

    A text is the text itself and an array of bytes is the bytes; what else is JSON stays JSON, and
    another array is a file that NumPy opens.
    """
    encoding, data = read(archive)
    if encoding == "json":
        if not data.startswith(b'"'):
            return data
        try:
            return str(json.loads(data)).encode("utf-8")
        except ValueError:
            raise NoValue("the text in it is no JSON") from None
    if encoding == "array":
        return _plain_array(data)
    raise NoValue(
        f"it is encoded as {encoding}, which no command reads; have it returned as JSON"
    )


def _plain_array(data: bytes) -> bytes:
    if not data.startswith(_ARRAY_MAGIC):
        raise NoValue("it is no array")
    begin = len(_ARRAY_MAGIC) + 2
    end = begin + int.from_bytes(data[begin - 2 : begin], "little")
    described = data[begin:end].decode("latin-1")
    is_bytes = "'|u1'" in described and described.count(",") <= 4 and ",)" in described
    return data[end:] if is_bytes else data


def archive(content: bytes) -> bytes:
    """What a command has written as an archive: JSON if it is text, an array of bytes if not."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return _packed("array", f"{len(content)} bytes", _array_head(len(content)) + content)
    data = json.dumps(text, ensure_ascii=False).encode("utf-8")
    return _packed("json", _preview(content), data)


def _preview(content: bytes) -> str:
    text = content[:_PREVIEW_BYTES_MAX].decode("utf-8", "ignore")
    return f"{text}…" if len(content) > _PREVIEW_BYTES_MAX else text.rstrip("\n")


def _array_head(count: int) -> bytes:
    described = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count},), }}"
    before = len(_ARRAY_MAGIC) + 2
    padding = -(before + len(described) + 1) % _ARRAY_ALIGNMENT
    described += " " * padding + "\n"
    return _ARRAY_MAGIC + len(described).to_bytes(2, "little") + described.encode("ascii")


def _packed(encoding: str, printed: str, data: bytes) -> bytes:
    header = {
        "py_version": "",
        "cloudpickle_version": "",
        "attrs": {"doc": "", "name": ""},
        "encoding": encoding,
        "binary": True,
    }
    head = json.dumps(header).encode("ascii")
    shown = printed.encode("utf-8")
    string_offset = _PREFIX_BYTES + len(head)
    offsets = (string_offset, string_offset + len(shown))
    prefix = b"".join(offset.to_bytes(8, "big") for offset in offsets)
    return prefix + head + shown + data
