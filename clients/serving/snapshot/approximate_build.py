"""Builds the inverted lists: spherical k-means on some of the rows, then every row to its centre.

Dhillon and Modha (2001).  In a million rows of width 384 it takes about a minute on two cores; no
more than `_CHUNK` rows are in memory as floats at once, beside the sample.

Shapes: `V` items, `D` width, `C` centres, `S` rows of the sample.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.approximate import PARTS
from shared.files import storage_error

Progress = Callable[[str, int, int], None]

_PASSES = 6
_SAMPLE = 100_000
_CHUNK = 20_000
_HEAVY = 100  # one in so many rows has its bias read by every search
_CUT = 0.9999  # quantile of the entries that 8 bits must hold; what is cut off is in `missed`


def centres_for(items: int) -> int:
    """C: twice the square root, so that choosing lists costs less than reading them."""
    return max(1, round(2 * items**0.5))


def build_lists(
    vectors: NDArray[np.float16],
    bias: NDArray[np.float32],
    folder: Path,
    *,
    seed: int,
    progress: Progress | None = None,
) -> None:
    """Write the files that `approximate.Lists` opens.

    Args:
        vectors: (V, D) rows of unit length, or zero.
        bias: (V,) >= 0.
        folder: exists; made whole by whoever renames it, see `clients.serving.snapshot.build`.
        seed: of the sample and the first centres.
        progress: called with (what, done, total).

    Raises:
        StorageError: the disk refused.
    """
    rng = np.random.default_rng(seed)
    real = _not_zero(vectors)
    centres = _centres(vectors, real, rng, progress)
    belongs = _assigned(vectors, centres, progress)
    count = len(centres)
    # A sort that keeps ties in the order of rows: the same input gives the same files.
    heavy = np.argsort(-bias, kind="stable")[: len(bias) // _HEAVY]
    belongs[heavy[bias[heavy] > 0]] = count
    zero = np.ones(len(vectors), bool)
    zero[real] = False
    belongs[zero] = count + 1
    weighed = np.where(belongs == count + 1, -bias, 0)
    order = np.lexsort((weighed, belongs)).astype(np.int32)
    starts = np.searchsorted(belongs[order], np.arange(count + 3)).astype(np.int64)
    scale = _scale(vectors, real, rng)
    try:
        codes = np.lib.format.open_memmap(
            folder / f"lists.{PARTS[0]}.npy", "w+", np.dtype(np.int8), vectors.shape
        )
        missed = np.zeros(len(vectors), np.float16)
        for start in range(0, len(order), _CHUNK):
            part = slice(start, start + _CHUNK)
            if progress:
                progress("rounding items", start, len(order))
            codes[part], missed[part] = _coded(vectors[order[part]], scale)
        codes.flush()
        others: tuple[NDArray[Any], ...] = (
            order,
            missed,
            starts,
            centres,
            np.array(scale, np.float32),
        )
        for name, array in zip(PARTS[1:], others, strict=True):
            np.save(folder / f"lists.{name}.npy", array)
    except OSError as error:
        raise storage_error(error, folder) from error


def _centres(
    vectors: NDArray[np.float16],
    real: NDArray[np.int64],
    rng: np.random.Generator,
    progress: Progress | None,
) -> NDArray[np.float32]:
    """(C, D) of unit length; a centre that loses all its rows stays where it was."""
    count = min(centres_for(len(vectors)), len(real))
    some = np.sort(rng.choice(real, min(_SAMPLE, len(real)), replace=False))
    sample = vectors[some].astype(np.float32)  # (S, D)
    centres = sample[np.sort(rng.choice(len(sample), count, replace=False))].copy()
    for number in range(_PASSES):
        if progress:
            progress("finding centres", number, _PASSES)
        nearest = np.concatenate(
            [
                (sample[start : start + _CHUNK] @ centres.T).argmax(axis=1)
                for start in range(0, len(sample), _CHUNK)
            ]
            or [np.zeros(0, np.int64)]
        )
        order = np.argsort(nearest, kind="stable")
        filled, starts = np.unique(nearest[order], return_index=True)
        if len(filled):
            sums = np.add.reduceat(sample[order], starts, axis=0)
            norms = np.linalg.norm(sums, axis=1, keepdims=True)
            moved = norms[:, 0] > 1e-6
            centres[filled[moved]] = (sums / np.maximum(norms, 1e-6))[moved]
    return centres


def _assigned(
    vectors: NDArray[np.float16], centres: NDArray[np.float32], progress: Progress | None
) -> NDArray[np.int64]:
    """(V,) each row's centre; of a row of zeros any."""
    found = np.zeros(len(vectors), np.int64)
    for start in range(0, len(vectors) if len(centres) else 0, _CHUNK):
        if progress:
            progress("listing items", start, len(vectors))
        rows = vectors[start : start + _CHUNK].astype(np.float32)
        found[start : start + len(rows)] = (rows @ centres.T).argmax(axis=1)
    return found


def _not_zero(vectors: NDArray[np.float16]) -> NDArray[np.int64]:
    parts = [
        start + np.flatnonzero(vectors[start : start + _CHUNK].any(axis=1))
        for start in range(0, len(vectors), _CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _scale(
    vectors: NDArray[np.float16], real: NDArray[np.int64], rng: np.random.Generator
) -> float:
    some = np.sort(rng.choice(real, min(len(real), _CHUNK), replace=False))
    largest = np.abs(vectors[some].astype(np.float32))
    return 127 / max(float(np.quantile(largest, _CUT)) if largest.size else 0.0, 1e-3)


def _coded(
    vectors: NDArray[np.float16], scale: float
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    rows = vectors.astype(np.float32)
    codes = np.rint(rows * np.float32(scale)).clip(-127, 127).astype(np.int8)
    missed = np.linalg.norm(rows - codes / np.float32(scale), axis=1)
    # Rounded up: a bound must not be too small.
    return codes, np.nextafter((missed * 1.001).astype(np.float16), np.float16(np.inf))
