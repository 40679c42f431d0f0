"""Threads of the arithmetic below a service: none but the service's own.

A product of small matrices is done before a second thread of BLAS has woken up, and one that has
woken spins for the next: among calls that wait for a core that makes the slowest far slower.
"""

import os

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""Environment; what is set already counts."""


def one_thread() -> None:
    """Have BLAS use one; to be called before NumPy is imported, which reads it then."""
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
