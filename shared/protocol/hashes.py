"""The hashes by which both ends know that they speak of the same tensors."""

import hashlib

from shared.records import Arrays, Scalar, c_order


def arrays_sha256(arrays: Arrays) -> str:
    """Hex SHA-256 over names, dtypes, shapes and little-endian C-order bytes, in order."""
    digest = hashlib.sha256()
    for name, value in arrays.items():
        little = c_order(value)
        for field in (name.encode(), little.dtype.str.encode(), str(value.shape).encode()):
            digest.update(len(field).to_bytes(8, "little") + field)
        digest.update(little.tobytes())
    return digest.hexdigest()


def settings_sha256(settings: dict[str, Scalar]) -> str:
    """Hex SHA-256 over names, types and values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(settings):
        value = settings[name]
        text = value.hex() if isinstance(value, float) else repr(value)
        for field in (name.encode(), type(value).__name__.encode(), text.encode()):
            digest.update(len(field).to_bytes(8, "little") + field)
    return digest.hexdigest()
