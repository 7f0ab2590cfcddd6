"""Plain data: values as JSON and as arrays of numbers, which programs in other languages read.

Turns values into bytes and back. Knows neither archives nor tasks, and pickles nothing.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import sys
from typing import Any, Union

JSON = "json"
ARRAY = "array"

# The longest head of an array in version 1.0 of NumPy's layout. Bytes.
_ARRAY_HEAD_MAX = 10 + 0xFFFF

_JSON_HOLDS = (
    "json holds None, truth values, finite numbers, text, bytes, lists, tuples, sets, "
    "dataclasses, and dictionaries with text or numbers as keys"
)


class NoCrossing(TypeError):
    """A value that cannot go to, or come from, another language: why."""


def type_name(value: Any) -> str:
    """The type of a value, as people name it."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else _full_name(kind)


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def to_json(value: Any) -> bytes:
    """JSON of plain data."""
    try:
        text = json.dumps(
            value, default=_plainer, allow_nan=False, ensure_ascii=False, separators=(",", ":")
        )
        return text.encode("utf-8")
    except NoCrossing as error:
        reason = str(error)
    except UnicodeEncodeError:
        reason = "it holds text with half of a surrogate pair"
    except RecursionError:
        reason = "it is nested too deeply"
    except (TypeError, ValueError) as error:
        reason = _in_words(error)
    raise NoCrossing(f"{reason}; {_JSON_HOLDS}")


def _in_words(error: Exception) -> str:
    text = str(error)
    if text.startswith("Out of range float"):
        return "it holds a number that is infinite or not a number (as an array it would cross)"
    if text.startswith("Circular"):
        return "it holds itself"
    return text


def _plainer(value: Any) -> Any:
    """What stands for a value that JSON has no form for."""
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, (bytes, bytearray)):
        return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        return value.tolist()
    if numpy is not None and isinstance(value, numpy.generic):
        plain = value.item()
        if not isinstance(plain, numpy.generic):
            return plain
    raise NoCrossing(f"it holds a `{type_name(value)}`")


def to_array(value: Any) -> bytes:
    """NumPy's layout of an array of numbers."""
    numpy = _numpy()
    try:
        array = numpy.asarray(value)
    except (TypeError, ValueError) as error:
        raise NoCrossing(f"it is no array of numbers: {error}") from None
    size = array.dtype.itemsize
    if array.dtype.kind not in "iuf" or size > 8 or (array.dtype.kind == "f" and size < 4):
        raise NoCrossing(
            f"its items are `{array.dtype}`; integers of up to 64 bits, float32 and float64 cross"
        )
    array = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    layout = numpy.lib.format
    head = io.BytesIO()
    layout.write_array_header_1_0(head, layout.header_data_from_array_1_0(array))
    # NumPy's own way to a file in memory copies the numbers twice.
    return b"".join((head.getvalue(), array.reshape(-1).view(numpy.uint8).data))


def from_array(raw: Union[bytes, memoryview]) -> Any:
    """A NumPy array, which may be changed."""
    numpy = _numpy()
    layout = numpy.lib.format
    head = io.BytesIO(raw[:_ARRAY_HEAD_MAX])
    if layout.read_magic(head) != (1, 0):
        return numpy.load(io.BytesIO(raw), allow_pickle=False)
    shape, fortran_order, dtype = layout.read_array_header_1_0(head)
    count = math.prod(shape)
    if dtype.hasobject or count == 0:
        return numpy.load(io.BytesIO(raw), allow_pickle=False)
    numbers = numpy.frombuffer(raw, dtype, count, head.tell())
    return numbers.reshape(shape, order="F" if fortran_order else "C").copy(order="K")


def _numpy() -> Any:
    try:
        import numpy
    except ModuleNotFoundError:
        raise NoCrossing(
            "arrays of numbers need NumPy in the Python that runs tasks: "
            f"{sys.executable} -m pip install numpy"
        ) from None
    return numpy
