"""Item vectors in 8 bits, and their signs: what some ten thousand items are searched by.

    FOLDER/
    ├── rows.codes.npy      (V, D) int8: a row times the scale, rounded
    ├── rows.missed.npy     (V,) float16: length of what rounding took from each
    ├── rows.signs.npy      (S, V) uint64: a bit for every coordinate that is over 0
    └── rows.scale.npy      () float32

The codes are scanned, with bounds, for every search (`exact.ByteScan`).  Where a search may miss
some, only signs are compared: the rows that disagree with the query in the fewest coordinates are
nearly all of the nearest (Charikar 2002), and counting takes a fifth of the scan.

Shapes: `V` items, `D` width, `S` words of 64 coordinates.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.exact import ByteScan
from clients.serving.snapshot.opening import opening
from shared.files import storage_error

Progress = Callable[[str, int, int], None]

PARTS = ("codes", "missed", "signs", "scale")
FILES = tuple(f"rows.{part}.npy" for part in PARTS)

_CHUNK = 20_000
_CUT = 0.9999  # quantile of the entries that 8 bits must hold; what is cut off is in `missed`


def build_byte_rows(
    vectors: NDArray[np.float16],
    folder: Path,
    *,
    seed: int,
    progress: Progress | None = None,
) -> None:
    """Write the files that `ByteRows` opens.

    Args:
        vectors: (V, D) rows of unit length, or zero.
        folder: exists; made whole by whoever renames it, see `clients.serving.snapshot.write`.
        seed: of the rows that the scale is taken from.
        progress: called with (what, done, total).

    Raises:
        StorageError: the disk refused.
    """
    items, width = vectors.shape
    scale = scale_of(vectors, np.random.default_rng(seed))
    missed = np.zeros(items, np.float16)
    signs = np.zeros((-(-width // 64), items), np.uint64)
    try:
        codes = np.lib.format.open_memmap(folder / FILES[0], "w+", np.dtype(np.int8), vectors.shape)
        for start in range(0, items, _CHUNK):
            if progress:
                progress("rounding items", start, items)
            part = slice(start, start + _CHUNK)
            rows = vectors[part].astype(np.float32)
            codes[part] = coded(rows, scale)
            lost = np.linalg.norm(rows - codes[part] / np.float32(scale), axis=1)
            # Rounded up: a bound must not be too small.
            missed[part] = np.nextafter((lost * 1.001).astype(np.float16), np.float16(np.inf))
            signs[:, part] = _signs(rows)
        codes.flush()
        others: tuple[NDArray[Any], ...] = (missed, signs, np.array(scale, np.float32))
        for name, array in zip(FILES[1:], others, strict=True):
            np.save(folder / name, array)
    except OSError as error:
        raise storage_error(error, folder) from error


class ByteRows:
    """The files, opened; nothing changes after that, so that threads can share it.

    Args:
        folder: where `build_byte_rows` wrote them.
        items, width: V and D.
        files: name -> SHA-256 that each file has to have; None does not look.

    Raises:
        RunError: a file is missing, damaged, or of other items.
    """

    def __init__(
        self, folder: Path, items: int, width: int, files: Mapping[str, str] | None = None
    ) -> None:
        with opening(folder, FILES, files):
            codes, missed, signs, scale = (_part(folder / name) for name in FILES)
            fits = (
                (codes.shape, codes.dtype) == ((items, width), np.int8)
                and (missed.shape, missed.dtype) == ((items,), np.float16)
                and (signs.shape, signs.dtype) == ((-(-width // 64), items), np.uint64)
                and scale.shape == ()
            )
            if not fits:
                raise ValueError("an index of other items")
            codes[:, :1].max(initial=0)  # or searches would bring in its pages for minutes to come
        self.scan = ByteScan(codes, float(scale), missed)
        self._signs = signs

    def near(
        self,
        query: NDArray[np.float32],
        count: int,
        allowed: NDArray[np.bool_] | None,
        without: NDArray[np.integer],
    ) -> NDArray[np.int64]:
        """Up to `count` rows whose signs are most like the query's, the likest first, ties by row.

        Args:
            query: (D,).
            count: >= 1.
            allowed: (V,); None is all.
            without: rows that may not be among them.
        """
        apart = np.zeros(self._signs.shape[1], np.uint16)
        for mine, asked in zip(self._signs, _signs(query[None])[:, 0], strict=True):
            apart += np.bitwise_count(mine ^ asked)
        never = 64 * len(self._signs) + 1
        if allowed is not None:
            apart[~allowed] = never
        apart[without] = never
        many = np.cumsum(np.bincount(apart, minlength=never))
        last = min(int(np.searchsorted(many, count)), never - 1)
        found = np.flatnonzero(apart <= last)
        return found[np.argsort(apart[found], kind="stable")[:count]]


def scale_of(vectors: NDArray[np.float16], rng: np.random.Generator) -> float:
    """What brings nearly all entries of the rows into [-127, 127]."""
    some = np.sort(rng.choice(len(vectors), min(len(vectors), _CHUNK), replace=False))
    rows = np.abs(vectors[some].astype(np.float32))
    entries = rows[rows.any(axis=1)]
    return 127 / max(float(np.quantile(entries, _CUT)) if entries.size else 0.0, 1e-3)


def coded(rows: NDArray[np.float32], scale: float) -> NDArray[np.int8]:
    """(N, D) rows in 8 bits."""
    return np.rint(rows * np.float32(scale)).clip(-127, 127).astype(np.int8)


def _signs(rows: NDArray[np.float32]) -> NDArray[np.uint64]:
    """(S, N)."""
    bits = np.zeros((len(rows), -(-rows.shape[1] // 64) * 64), bool)
    bits[:, : rows.shape[1]] = rows > 0
    return np.packbits(bits, axis=1).view(np.uint64).T


def _part(path: Path) -> NDArray[Any]:
    found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return np.asarray(found)
