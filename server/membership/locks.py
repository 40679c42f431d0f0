"""One at a time, among the processes that work in a coordinator's folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.files import storage_error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, made if it is missing; wait for whoever holds it.

    Not to be taken twice by one thread.  A process that dies gives it back.

    Raises:
        StorageError: the file cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
