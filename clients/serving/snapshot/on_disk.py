"""Arrays in files, mapped, of which a request reads a little.

A page that is touched in a map counts as the process's own from then on: after some minutes of
requests all of them would be, though each request needs a few bytes.  `let_go` gives them back;
the system still has them, and brings in again what is asked for.
"""

import mmap
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAPS: "weakref.WeakSet[mmap.mmap]" = weakref.WeakSet()


def on_disk(path: Path) -> NDArray[Any]:
    """The array of a `.npy`, of any shape; not as `np.memmap`, which is slow to slice.

    Raises:
        OSError, ValueError: it is not there, or is cut short.
    """
    found = np.load(path, mmap_mode="r", allow_pickle=False)  # checks its length, and goes
    if not found.size:
        return np.zeros(found.shape, found.dtype)
    with open(path, "rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _MAPS.add(content)
    array = np.frombuffer(content, found.dtype, found.size, int(found.offset))
    return array.reshape(found.shape)


def let_go() -> None:
    """Give back the pages of all arrays on disk that requests have touched; nothing without
    `madvise`.
    """
    for one in list(_MAPS):
        if hasattr(one, "madvise"):
            one.madvise(mmap.MADV_DONTNEED)
