"""The hashes by which both ends know that they speak of the same tensors."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from shared.protocol.grid import on_grid
from shared.records import Arrays, Scalar, c_order

GRID_SINCE = 6
_BEFORE = np.float16  # how updates travelled until then

Update = dict[str, NDArray[np.float32]]


def travelling(update: Update, version: int) -> Update:
    """An update with the values that arrive where it is sent in a message of `version`."""
    if version >= GRID_SINCE:
        return {name: on_grid(value) for name, value in update.items()}
    with np.errstate(over="ignore"):  # becomes infinite, which the coordinator leaves out
        return {name: value.astype(_BEFORE).astype(np.float32) for name, value in update.items()}


def arrays_sha256(arrays: Arrays) -> str:
    """Hex SHA-256 over names, dtypes, shapes and little-endian C-order bytes, in order."""
    digest = hashlib.sha256()
    for name, value in arrays.items():
        little = c_order(value)
        for field in (name.encode(), little.dtype.str.encode(), str(value.shape).encode()):
            digest.update(len(field).to_bytes(8, "little") + field)
        digest.update(little.tobytes())
    return digest.hexdigest()


def update_sha256(update: Update, version: int) -> str:
    """`arrays_sha256` of an update as it travels: both ends compute the same."""
    if version >= GRID_SINCE:
        return arrays_sha256(travelling(update, version))
    with np.errstate(over="ignore"):
        return arrays_sha256({name: value.astype(_BEFORE) for name, value in update.items()})


def settings_sha256(settings: dict[str, Scalar]) -> str:
    """Hex SHA-256 over names, types and values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(settings):
        value = settings[name]
        text = value.hex() if isinstance(value, float) else repr(value)
        for field in (name.encode(), type(value).__name__.encode(), text.encode()):
            digest.update(len(field).to_bytes(8, "little") + field)
    return digest.hexdigest()
