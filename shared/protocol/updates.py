"""An update as it travels: codes of two bits since version 6, half precision before.

With it goes what the codes mean: the shape of each tensor, and the inner level of its grid
(`shared.protocol.grid`).
"""

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from shared.protocol.grid import from_codes, on_grid, to_codes
from shared.protocol.hashes import arrays_sha256
from shared.records import (
    MAX_DIMENSIONS,
    from_array_record,
    only,
    part,
    protocol_error,
    to_array_record,
)

GRID_SINCE = 6
UPDATE, LEVELS = "update", "levels"

_BEFORE = np.float16
_CODES = "two-bits"

Update = dict[str, NDArray[np.float32]]


def travelling(update: Update, version: int) -> Update:
    """An update with the values that arrive where it is sent in a message of `version`."""
    if version >= GRID_SINCE:
        return {name: on_grid(value) for name, value in update.items()}
    return {name: value.astype(np.float32) for name, value in _halves(update).items()}


def update_sha256(update: Update, version: int) -> str:
    """`arrays_sha256` of an update as it travels: both ends compute the same."""
    if version >= GRID_SINCE:
        return arrays_sha256(travelling(update, version))
    return arrays_sha256(_halves(update))


def to_parts(update: Update, version: int) -> dict[str, ArrayRecord | ConfigRecord]:
    """The parts of a message that carry an update."""
    if version < GRID_SINCE:
        return {UPDATE: to_array_record(_halves(update))}
    arrays = ArrayRecord()
    levels = ConfigRecord()
    for name, value in update.items():
        data, level = to_codes(value)
        arrays[name] = Array(dtype="uint8", shape=(len(data),), stype=_CODES, data=data)
        levels[_shape(name)] = list(value.shape)
        levels[_level(name)] = level
    return {UPDATE: arrays, LEVELS: levels}


def part_names(version: int) -> set[str]:
    """Names of the parts that carry an update in a message of `version`."""
    return {UPDATE, LEVELS} if version >= GRID_SINCE else {UPDATE}


def from_parts(records: RecordDict, names: list[str], version: int) -> Update:
    """What `to_parts` was given, as `travelling` has it, in the order of `names`.

    Raises:
        ProtocolError: anything but that.
    """
    arrays = part(records, UPDATE, ArrayRecord)
    if version < GRID_SINCE:
        halves = from_array_record(arrays, _BEFORE, names, UPDATE)
        return {name: value.astype(np.float32) for name, value in halves.items()}
    only(arrays, set(names), UPDATE)
    levels = part(records, LEVELS, ConfigRecord)
    only(levels, {told(name) for name in names for told in (_shape, _level)}, LEVELS)
    found = {}
    for name in names:
        packed, where = arrays[name], f"{UPDATE}.{name}"
        shape, level = _said(levels, name)
        declared = (packed.stype, packed.dtype, tuple(packed.shape))
        if declared != (_CODES, "uint8", (len(packed.data),)):
            raise protocol_error(
                f"{len(packed.data)} bytes of {_CODES}", f"{packed.stype!r}", where
            )
        try:
            found[name] = from_codes(packed.data, level, shape)
        except ValueError as error:
            raise protocol_error("codes of the declared shape", str(error), where) from error
    return found


def _said(levels: ConfigRecord, name: str) -> tuple[tuple[int, ...], float]:
    shape, level = levels[_shape(name)], levels[_level(name)]
    sizes = shape if isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS else [-1]
    sound = all(type(size) is int and size >= 0 for size in sizes)
    # NaN and infinity are no reason to refuse the message: the coordinator leaves the update out
    if not sound or not isinstance(level, float) or level < 0:
        raise protocol_error("a shape and a level of at least 0", "something else", name)
    return tuple(int(size) for size in sizes), level


def _shape(name: str) -> str:
    return f"{name}.shape"


def _level(name: str) -> str:
    return f"{name}.level"


def _halves(update: Update) -> dict[str, NDArray[np.float16]]:
    with np.errstate(over="ignore"):  # becomes infinite, which the coordinator leaves out
        return {name: value.astype(_BEFORE) for name, value in update.items()}


__all__ = [
    "GRID_SINCE",
    "LEVELS",
    "UPDATE",
    "Update",
    "from_parts",
    "part_names",
    "to_parts",
    "travelling",
    "update_sha256",
]
