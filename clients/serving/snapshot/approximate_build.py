"""Builds the inverted lists with faiss: spherical k-means on some rows, then all to their centres.

No more than `_CHUNK` rows are in memory as floats at once, beside the sample; the lists are, until
they are written.

Shapes: `V` items, `D` width, `K` of its coordinates, `P` of a row, `C` centres, `N` of the rows.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.approximate import FILES, SPARE, ZEROS, padded
from clients.serving.snapshot.byte_rows import coded, scale_of
from shared.files import storage_error

Progress = Callable[[str, int, int], None]

_PASSES = 6
_SAMPLE = 100_000
_CHUNK = 20_000
_FAR = 1e6  # beyond any inner product
_FINER = 8
_HEAVY = 100  # one in so many rows has its bias read by every search


def centres_for(items: int) -> int:
    """Twice the square root, so that choosing lists costs less than reading them."""
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
        folder: exists; made whole by whoever renames it, see `clients.serving.snapshot.write`.
        seed: of the sample and the first centres.
        progress: called with (what, done, total).

    Raises:
        StorageError: the disk refused.
    """
    import faiss

    items, width = len(vectors), padded(vectors.shape[1])
    real = np.concatenate(
        [vectors[start : start + _CHUNK].any(axis=1) for start in range(0, items, _CHUNK)]
    )
    quantizer = faiss.IndexFlatIP(width)
    if progress:
        progress("finding centres", 0, 1)
    found = _centres(vectors, np.flatnonzero(real), seed)
    columns = _columns(found, width - SPARE)
    quantizer.add(_wide(found, columns, width))
    centres = quantizer.ntotal
    index = faiss.IndexIVFScalarQuantizer(
        quantizer,
        width,
        centres + 2,
        faiss.ScalarQuantizer.QT_8bit_direct_signed,  # of whole numbers: nothing to train
        faiss.METRIC_INNER_PRODUCT,
        False,  # rows, not what their centres leave of them
    )
    index.is_trained = True
    belongs = _apart(~real, bias, nearest=centres, farthest=centres + 1)
    scale = scale_of(vectors, np.random.default_rng(seed))
    spare = width - len(columns) - 1
    # A bias times this is spread; finer than the rows it need not be, or queries lack room for it.
    share = min(127 * spare / max(float(bias.max(initial=0.0)), 1e-30), _FINER * scale)
    for start in range(0, items, _CHUNK):
        if progress:
            progress("listing items", start, items)
        part = slice(start, start + _CHUNK)
        rows = _wide(vectors[part], columns, width)
        lists = np.where(belongs[part] < 0, quantizer.assign(rows, 1)[:, 0], belongs[part])
        rows = coded(rows, scale).astype(np.float32)
        rows[:, len(columns) : -1] = (
            np.rint(bias[part] * share)[:, None] + np.arange(spare)
        ) // spare
        names = np.arange(start, start + len(rows))
        index.add_core(len(rows), *(faiss.swig_ptr(array) for array in (rows, names, lists)))
    # Only now, for to a row that is far from all centres these would be the nearest.
    made_up = np.zeros((2, width), np.float32)
    made_up[:, -1] = _FAR, -_FAR
    quantizer.add(made_up)
    try:
        faiss.write_index(index, str(folder / FILES[0]))
        np.save(folder / FILES[1], columns)
        np.save(folder / FILES[2], np.array([scale, share / scale], np.float32))
    except RuntimeError as error:  # of faiss, with the words of the system in it
        raise storage_error(OSError(str(error)), folder) from error
    except OSError as error:
        raise storage_error(error, folder) from error


def _centres(
    vectors: NDArray[np.float16], real: NDArray[np.int64], seed: int
) -> NDArray[np.float32]:
    """(C, D) of unit length; one of zeros where there is no row to find any from."""
    import faiss

    if not len(real):
        return np.zeros((1, vectors.shape[1]), np.float32)
    some = np.random.default_rng(seed).choice(real, min(_SAMPLE, len(real)), replace=False)
    means = faiss.Kmeans(
        vectors.shape[1],
        min(centres_for(len(vectors)), len(some)),
        niter=_PASSES,
        spherical=True,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=_SAMPLE,
    )
    means.train(vectors[np.sort(some)].astype(np.float32))
    return np.asarray(means.centroids, np.float32)


def _apart(
    zero: NDArray[np.bool_], bias: NDArray[np.float32], *, nearest: int, farthest: int
) -> NDArray[np.int64]:
    """(V,) which of the made-up centres' lists a row is in; -1 of the others."""
    found = np.where(zero, farthest, -1)
    # Sorts that keep ties in the order of rows: the same input gives the same files.
    heavy = np.argsort(-bias, kind="stable")[: len(bias) // _HEAVY]
    found[heavy[bias[heavy] > 0]] = nearest
    zeros = np.flatnonzero(zero)
    found[zeros[np.argsort(-bias[zeros], kind="stable")[:ZEROS]]] = nearest
    return found


def _columns(centres: NDArray[np.float32], most: int) -> NDArray[np.int32]:
    """(K,) the coordinates in which the centres differ most, rising."""
    spread = centres.var(axis=0)
    return np.sort(np.argsort(-spread, kind="stable")[:most]).astype(np.int32)


def _wide(
    rows: NDArray[np.floating], columns: NDArray[np.int32], width: int
) -> NDArray[np.float32]:
    """(N, P)."""
    wide = np.zeros((len(rows), width), np.float32)
    wide[:, : len(columns)] = rows[:, columns]
    return wide
