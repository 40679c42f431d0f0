"""An array in a file, mapped, of which a request reads a little.

A page that is touched in a map counts as the process's own from then on: after some minutes of
requests all of them would be, though each request needs a few bytes.  `let_go` gives them back;
the system still has them, and brings in again what is asked for.  (Reading past the map, by
`pread`, keeps them out as well, but gives up the interpreter's lock at each of the hundreds of
reads of a request: among calls that wait for it the slowest took five times as long.)

Shapes: `N` numbers.
"""

import mmap
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PAGE = 512  # numbers of 8 bytes in a page of memory
_MAPS: "weakref.WeakSet[mmap.mmap]" = weakref.WeakSet()


def let_go() -> None:
    """Give back the pages of all arrays on disk that requests have touched; nothing without
    `madvise`.
    """
    for one in list(_MAPS):
        if hasattr(one, "madvise"):
            one.madvise(mmap.MADV_DONTNEED)


class OnDisk:
    """A vector of numbers; safe to be shared by threads.

    Args:
        path: of a `.npy`.

    Raises:
        OSError, ValueError: it is not there, or is cut short.
    """

    def __init__(self, path: Path) -> None:
        found = np.load(path, mmap_mode="r", allow_pickle=False)  # checks its length, and goes
        self.dtype, self._count, self._offset = found.dtype, len(found), int(found.offset)
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        _MAPS.add(self._map)

    def __len__(self) -> int:
        return self._count

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """(N,) from `start` up to `stop`; fewer where the file ends."""
        return np.frombuffer(self.content(start, stop), self.dtype)

    def content(self, start: int, stop: int) -> bytes:
        """The bytes of `read`."""
        size = self.dtype.itemsize
        return self._map[self._offset + start * size : self._offset + stop * size]


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
