"""Strict reading and writing of Flower records: what is not exactly right is a ProtocolError.

Flower's records arrive from a machine that is not ours.  Nothing here trusts a declared shape, a
dtype or a length before it has been checked against the bytes, and nothing is unpickled.
"""

import math
from collections.abc import Mapping
from io import BytesIO
from typing import TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from shared.errors import ProtocolError

Arrays = Mapping[str, NDArray[np.generic]]
Scalar = int | float | str | bool
T = TypeVar("T")

_NUMPY = "numpy.ndarray"  # Flower's name for the .npy format
MAX_DIMENSIONS = 8


def protocol_error(expected: str, got: str, where: str) -> ProtocolError:
    """A ProtocolError with the remedy that fits nearly all of them."""
    return ProtocolError(
        expected=expected,
        got=got,
        where=where,
        remedy="Check that coordinator and platform run the same version of fedinterest.",
    )


def to_array_record(arrays: Arrays) -> ArrayRecord:
    """`arrays` in little-endian C order, one .npy each."""
    return ArrayRecord({name: Array(c_order(value)) for name, value in arrays.items()})


def c_order(value: NDArray[np.generic]) -> NDArray[np.generic]:
    """`value` little-endian and C-contiguous; unlike numpy's function a scalar stays one."""
    return np.asarray(value, dtype=value.dtype.newbyteorder("<"), order="C")


def from_array_record(
    record: ArrayRecord, dtype: type[np.generic], names: list[str], where: str
) -> dict[str, NDArray[np.generic]]:
    """The arrays of `record` in the order of `names`.

    Raises:
        ProtocolError: other names than `names`, another dtype, bytes that are not one .npy of the
            declared shape.
    """
    if sorted(record.keys()) != sorted(names) or len(set(names)) != len(names):
        raise protocol_error(f"tensors {names}", f"{sorted(record.keys())}", where)
    return {name: _array(record[name], np.dtype(dtype), f"{where}.{name}") for name in names}


def _array(array: Array, dtype: np.dtype[np.generic], where: str) -> NDArray[np.generic]:
    expected = f"a {dtype.name} array in .npy format"
    if array.stype != _NUMPY or array.dtype != dtype.name:
        raise protocol_error(expected, f"{array.stype!r} of {array.dtype!r}", where)
    stream = BytesIO(array.data)
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f".npy version {version}")
        shape, fortran, found = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # numpy parses a literal: anything may come of it
        raise protocol_error(
            expected, f"unreadable bytes ({type(error).__name__})", where
        ) from error
    sound = (
        found == dtype
        and not fortran
        and len(shape) <= MAX_DIMENSIONS
        and all(isinstance(size, int) and size >= 0 for size in shape)
        and tuple(shape) == tuple(array.shape)
        and len(array.data) - stream.tell() == math.prod(shape) * dtype.itemsize
    )
    if not sound:
        raise protocol_error(
            f"{expected} of shape {tuple(array.shape)[:MAX_DIMENSIONS]}",
            "bytes that say otherwise",
            where,
        )
    return np.frombuffer(array.data, dtype=dtype, offset=stream.tell()).reshape(shape).copy()


def part(records: RecordDict, name: str, kind: type[T]) -> T:
    """The record called `name`, if it is of `kind`."""
    found = records.get(name)
    if not isinstance(found, kind):
        got = "nothing" if found is None else type(found).__name__
        raise protocol_error(f"a {kind.__name__} called {name!r}", got, "message")
    return found


def only(records: Mapping[str, object], names: set[str], where: str) -> None:
    """Refuse any key beyond or short of `names`."""
    if set(records) != names:
        raise protocol_error(f"the keys {sorted(names)}", f"{sorted(map(str, records))}", where)


def scalar(record: ConfigRecord, name: str, kind: type[T]) -> T:
    """The value called `name`, exactly of `kind` (a bool is no int) and finite."""
    value = record.get(name)
    if type(value) is not kind:
        got = "nothing" if value is None else type(value).__name__
        raise protocol_error(f"{name} as {kind.__name__}", got, "message")
    if isinstance(value, float) and not math.isfinite(value):
        raise protocol_error(f"a finite {name}", str(value), "message")
    return value


def words(record: ConfigRecord, name: str) -> list[str]:
    """The list of distinct strings called `name`."""
    value = record.get(name)
    if not isinstance(value, list) or not all(type(word) is str for word in value):
        raise protocol_error(f"{name} as a list of strings", type(value).__name__, "message")
    found = [str(word) for word in value]
    if len(set(found)) != len(found):
        raise protocol_error(f"distinct {name}", f"{len(found)} with repeats", "message")
    return found


def scalars(record: ConfigRecord, where: str) -> dict[str, Scalar]:
    """All values of `record`, each an int, a finite float, a string or a bool."""
    found: dict[str, Scalar] = {}
    for name, value in record.items():
        if type(value) not in (int, float, str, bool):
            raise protocol_error(
                "an int, float, str or bool", type(value).__name__, f"{where}.{name}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise protocol_error("a finite number", str(value), f"{where}.{name}")
        found[name] = value  # type: ignore[assignment]
    return found


def size_in_bytes(records: RecordDict) -> int:
    """Bytes of the records' content: tensors with their headers, names, values (8 a number).

    Flower's own `count_bytes` raises on an empty string, which a stranger may well send.
    """
    total = 0
    for name, record in records.items():
        total += len(name.encode())
        for key, value in record.items():
            total += len(key.encode())
            values = value if isinstance(value, list) else [value]
            total += sum(_size(one) for one in values)
    return total


def _size(value: object) -> int:
    if isinstance(value, Array):
        return len(value.data)
    if isinstance(value, str):
        return len(value.encode())
    return len(value) if isinstance(value, bytes) else 8
