"""glibc's heaps: one for all threads, and what calls have left in it is given back.

glibc gives threads heaps of their own, and each keeps what its thread's largest call took: 2 MiB
for each of a dozen threads, within the first minutes.  The interpreter's lock lets one thread
allocate at a time anyway.  In the one heap that is left, pages that some moment of many calls at
once has taken stay behind; `Trimmer` lets go of them.

(Having large arrays mapped, each by itself, would leave nothing either; their pages, cleared for
every call, took half as long again as scanning 100,000 items does.)
"""

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

TRIM_S = 5.0
_M_ARENA_MAX = -8  # malloc.h


def one_heap() -> None:
    """Have all threads share one; to be called before there are others.  Nothing without glibc."""
    if "MALLOC_ARENA_MAX" not in os.environ:
        _of_glibc("mallopt")(_M_ARENA_MAX, 1)


class Trimmer:
    """A thread that gives back free pages, until `stop`.  Nothing without glibc."""

    def __init__(self, every_s: float = TRIM_S) -> None:
        self._every_s, self._trim = every_s, _of_glibc("malloc_trim")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="trim", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Trim no more."""
        self._stopped.set()
        self._thread.join(timeout=60)

    def _work(self) -> None:
        while not self._stopped.wait(self._every_s):
            self._trim(0)


def _of_glibc(name: str) -> Callable[..., object]:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            found: Callable[..., object] = getattr(ctypes.CDLL(None), name)
            return found
    return lambda *_: None
