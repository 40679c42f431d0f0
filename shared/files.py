"""Writing files so that nothing half-written is ever seen: temporary file, fsync, rename.

Guarantee: after `write_bytes` returns, the whole content is on disk under `path`; if it raises
or the process dies, `path` holds what it held before and no temporary file is left by an
exception (a killed process may leave one `.tmp-*` beside it, which `sweep` removes).
"""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shared.errors import StorageError

_PREFIX = ".tmp-"


def storage_error(error: OSError, path: Path) -> StorageError:
    """Say in our words why the disk refused `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        got, remedy = (
            "a full disk",
            "Free some space and run again; what was written before is whole.",
        )
    else:
        got, remedy = error.strerror or str(error), "Check the folder's permissions."
    return StorageError(expected="to write a file", got=got, where=str(path), remedy=remedy)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in `path`'s folder; on success it is fsynced and renamed to `path`.

    Raises:
        StorageError: the disk refused (full, read-only, no permission).
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_PREFIX, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` with `content`, durably and atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replace `path` with UTF-8 `text`, durably and atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` with `value` as indented JSON (NaN is refused: it is not JSON)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def sweep(folder: Path) -> None:
    """Remove temporary files that a killed process left in `folder`."""
    for left in folder.glob(f"{_PREFIX}*"):
        left.unlink(missing_ok=True)


def sha256(content: bytes) -> str:
    """Hex SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
