"""Item vectors on disk: one `.npy` file per key, with a SHA-256 behind its last byte.

File: an ordinary `.npy` (numpy reads it and ignores what follows), then 32 bytes, the SHA-256 of
the key and everything before them.  The key is in the digest so that a whole file under another
key's name is found out too.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import CacheError
from shared.files import write_bytes

_DIGEST = 32


def vector_key(*parts: str | int) -> str:
    """Hex key of everything that determines the vectors (model, pooling, cut, texts)."""
    return hashlib.sha256("\x00".join(str(part) for part in parts).encode()).hexdigest()


def cache_path(folder: Path, key: str) -> Path:
    """The file that holds the vectors of `key`."""
    return folder / f"{key}.npy"


def write_vectors(folder: Path, key: str, vectors: NDArray[np.float32]) -> None:
    """Store vectors, a row (of any shape) an item, under `key`, atomically.

    Raises:
        StorageError: the disk refused.
    """
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(vectors, dtype=np.float32), allow_pickle=False)
    content = buffer.getvalue()
    write_bytes(cache_path(folder, key), content + _digest(key, content))


def read_vectors(folder: Path, key: str, *, rows: int) -> NDArray[np.float32] | None:
    """The vectors of `key`, or None where none are stored.

    Raises:
        CacheError: the file is cut short, changed, of another key or of another shape.
    """
    path = cache_path(folder, key)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(error.strerror or "an unreadable file", path) from error
    body, digest = content[:-_DIGEST], content[-_DIGEST:]
    if digest != _digest(key, body):
        raise _damaged("a file whose checksum is wrong", path)
    try:
        vectors = np.load(io.BytesIO(body), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _damaged("a file that is no array", path) from error
    if vectors.dtype != np.float32 or vectors.ndim < 2 or len(vectors) != rows:
        raise _damaged(f"{vectors.dtype} of shape {vectors.shape} for {rows} items", path)
    return vectors


def _digest(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def _damaged(got: str, path: Path) -> CacheError:
    return CacheError(
        expected="whole cached item vectors",
        got=got,
        where=str(path),
        remedy="Delete the file: the items are encoded again.",
    )
