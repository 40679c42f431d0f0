"""Writes what the index needs beside the item vectors: 8-bit rows, lists, or nothing.

Shapes: `V` items, `D` width.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.approximate import FILES as LISTS
from clients.serving.snapshot.byte_rows import FILES as BYTES
from clients.serving.snapshot.byte_rows import build_byte_rows
from shared.errors import ConfigError

EXACT_LIMIT = 100_000
"""Up to so many items every search is exact: a scan of them takes 2 ms on one core."""

SMALL = 10_000
"""Up to so many there are no files: the half-precision rows are scanned."""


def build_index(
    vectors: NDArray[np.float16],
    bias: NDArray[np.float32],
    folder: Path,
    *,
    seed: int,
    limit: int = EXACT_LIMIT,
    small: int = SMALL,
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Write what `Index.open` needs beside the vectors, see `index_files`.

    Args:
        vectors: (V, D) rows of unit length; some may be zero.
        bias: (V,) >= 0.
        folder: exists.
        seed: see `build_lists`.
        limit, small: up to so many items searches are exact, or need no files.
        progress: called with (what, done, total).

    Raises:
        ConfigError: shapes that do not fit, or a bias that is negative or not finite.
        StorageError: the disk refused.
    """
    check_items(vectors, bias)
    needed = index_files(len(vectors), limit, small)
    if needed == BYTES:
        build_byte_rows(vectors, folder, seed=seed, progress=progress)
    elif needed == LISTS:
        from clients.serving.snapshot.approximate_build import build_lists

        build_lists(vectors, bias, folder, seed=seed, progress=progress)


def index_files(items: int, limit: int = EXACT_LIMIT, small: int = SMALL) -> tuple[str, ...]:
    """Names of the files that so many items are searched by."""
    if items > limit:
        return LISTS
    return BYTES if items > small else ()


def check_items(vectors: NDArray[np.float16], bias: NDArray[np.float32]) -> None:
    """Whether they can be searched.

    Raises:
        ConfigError: see `build_index`.
    """
    fits = vectors.ndim == 2 and vectors.dtype == np.float16 and bias.shape == (len(vectors),)
    if not (fits and np.isfinite(bias).all() and (bias >= 0).all()):
        raise ConfigError(
            expected="float16 vectors (V, D) and a bias >= 0 for each",
            got=f"{vectors.dtype} {vectors.shape} and {bias.dtype} {bias.shape}",
            where="index",
        )
