"""An array in a file, read a little at a time, and past any map.

A page that is touched in a map counts as the process's own from then on: after some minutes of
requests all of them would be, though each request needs a few bytes.

Shapes: `N` numbers.
"""

import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PAGE = 512  # numbers of 8 bytes in a page of memory


class OnDisk:
    """A vector of numbers; safe to be shared by threads.

    Args:
        path: of a `.npy`; held open.

    Raises:
        OSError, ValueError: it is not there, or is cut short.
    """

    def __init__(self, path: Path) -> None:
        found = np.load(path, mmap_mode="r", allow_pickle=False)  # checks its length, and goes
        self.dtype, self._count, self._offset = found.dtype, len(found), int(found.offset)
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return self._count

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """(N,) from `start` up to `stop`; fewer where the file ends."""
        return np.frombuffer(self.content(start, stop), self.dtype)

    def content(self, start: int, stop: int) -> bytes:
        """The bytes of `read`."""
        size = self.dtype.itemsize
        return os.pread(self._file, (stop - start) * size, self._offset + start * size)


class Rising:
    """Sorted numbers of 8 bytes, some of them perhaps equal: where one is.

    Every 512th is kept in memory; a search reads the one page that it leads to.

    Args:
        path: see `OnDisk`.
    """

    def __init__(self, path: Path) -> None:
        self._numbers = OnDisk(path)
        # Not `read` in parts: of a map only these are brought in, and it is closed after this.
        self._firsts = np.array(np.load(path, mmap_mode="r", allow_pickle=False)[::_PAGE])

    def __len__(self) -> int:
        return len(self._numbers)

    def places(self, wanted: np.integer) -> Iterator[int]:
        """Where it is, rising; nothing where it is not."""
        start = max(0, int(np.searchsorted(self._firsts, wanted)) - 1) * _PAGE
        while start < len(self):
            part = self._numbers.read(start, start + _PAGE)
            yield from (start + np.flatnonzero(part == wanted)).tolist()
            if part[-1] > wanted:
                return
            start += _PAGE
