"""Named float tensors in a message: one array that holds them all."""

import json
from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, RecordDict
from numpy.typing import NDArray
from safetensors.numpy import load, save

from shared.records import Arrays, c_order, part, protocol_error

_PACKED = "safetensors"
_LENGTH = 8  # bytes of a header's length, by the format


def tensors(arrays: Arrays) -> ArrayRecord:
    """`arrays` as a message carries them.

    Flower moves every array as two objects of its own, each with a request and a look-up at every
    station: there is one array, of safetensors' bytes.
    """
    data = save({name: c_order(value) for name, value in arrays.items()})
    packed = Array(dtype="uint8", shape=(len(data),), stype=_PACKED, data=data)
    return ArrayRecord({_PACKED: packed})


def floats(
    records: RecordDict,
    name: str,
    names: list[str],
) -> dict[str, NDArray[np.float32]]:
    """What `tensors` wrote as the record `name`, in the order of `names`, as float32.

    Raises:
        ProtocolError: other names than `names`, another dtype, anything but tensors in the bytes.
    """
    record = part(records, name, ArrayRecord)
    found = _unpacked(record, names, name)
    return {key: value.astype(np.float32, copy=False) for key, value in found.items()}


def finite(arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Raise ProtocolError where a tensor has NaN or infinity."""
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise protocol_error("finite tensors", "NaN or infinity", name)


def _unpacked(record: ArrayRecord, names: list[str], where: str) -> dict[str, NDArray[np.generic]]:
    if set(record) != {_PACKED}:
        raise protocol_error(f"one array called {_PACKED!r}", f"{sorted(record)[:3]}", where)
    packed = record[_PACKED]
    if (packed.stype, packed.dtype, tuple(packed.shape)) != (
        *(_PACKED, "uint8"),
        (len(packed.data),),
    ):
        raise protocol_error(
            f"{len(packed.data)} bytes of {_PACKED}", f"{packed.stype!r} of {packed.dtype!r}", where
        )
    try:
        found = load(packed.data)
        length = int.from_bytes(packed.data[:_LENGTH], "little")
        said = json.loads(packed.data[_LENGTH : _LENGTH + length])
    except Exception as error:  # the format's reader raises errors of many kinds
        raise protocol_error(
            "tensors in safetensors format", f"unreadable bytes ({type(error).__name__})", where
        ) from error
    # The header has room for words beside the tensors; nothing travels that is not read.
    if set(said) != set(names) or set(found) != set(names):
        raise protocol_error(f"tensors {names}", f"{sorted(said)}", where)
    for name, value in found.items():
        if value.dtype != np.float32:
            raise protocol_error("a float32 array", value.dtype.name, f"{where}.{name}")
    return {name: found[name].copy() for name in names}
