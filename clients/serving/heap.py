"""A service's memory stays as large as its work: one heap for all threads, and what calls leave is
freed.

glibc gives threads heaps of their own, and each keeps what its thread's largest call took: 2 MiB
for each of a dozen threads, within the first minutes.  The interpreter's lock lets one thread
allocate at a time anyway.  In the one heap that is left, pages that some moment of many calls at
once has taken stay behind until they are given back.  (Having large arrays mapped, each by itself,
would leave nothing either; their pages, cleared for every call, took half as long again as scanning
100,000 items does.)

The interpreter keeps small objects to use them again, 2,000 tuples of each length for one, and
frees them when it looks through all objects for cycles.  That takes 30 ms of a service, in which
nobody is answered, and comes only when a quarter of them are new.  What is there from the start
stays for good: it is not looked at any more, and then it takes a millisecond at most.  Pages of
files that requests have touched are given back too (`snapshot/on_disk.py`).
"""

import ctypes
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from clients.serving.snapshot.on_disk import let_go

EVERY_S = 5.0
_M_ARENA_MAX = -8  # malloc.h


def one_heap() -> None:
    """Have all threads share one; to be called before there are others.  Nothing without glibc."""
    if "MALLOC_ARENA_MAX" not in os.environ:
        _of_glibc("mallopt")(_M_ARENA_MAX, 1)


@contextmanager
def tidied(every_s: float = EVERY_S) -> Iterator[None]:
    """Free what is left over, every few seconds; to be begun when all is loaded."""
    trim, ended = _of_glibc("malloc_trim"), threading.Event()

    def work() -> None:
        while not ended.wait(every_s):
            gc.collect()
            trim(0)
            let_go()

    gc.collect()
    gc.freeze()
    thread = threading.Thread(target=work, name="tidy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        gc.unfreeze()


def _of_glibc(name: str) -> Callable[..., object]:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            found: Callable[..., object] = getattr(ctypes.CDLL(None), name)
            return found
    return lambda *_: None
