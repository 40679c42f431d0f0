"""Threads of the arithmetic below a service: none but the service's own; and one heap for those.

A product of small matrices is done before a second thread of BLAS has woken up, and one that has
woken spins for the next: among calls that wait for a core that makes the slowest far slower.

glibc gives threads heaps of their own, and each keeps what its thread's largest call took: some
2 MiB for each of a dozen threads, that are taken in the first minutes of work.  The interpreter's
lock lets one of them allocate at a time anyway.
"""

import ctypes
import os
import sys

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""Environment; what is set already counts."""

_M_ARENA_MAX = -8  # malloc.h


def one_thread() -> None:
    """Have BLAS use one; to be called before NumPy is imported, which reads it then."""
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)


def one_heap() -> None:
    """Have all threads share one; to be called before there are others.  Nothing without glibc."""
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 1)
