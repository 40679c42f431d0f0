"""Inverted lists over the item vectors, by faiss: the few that a query points at are read, not all.

    FOLDER/
    ├── lists.faiss         an IndexIVFScalarQuantizer: rows of 8 bits a coordinate, list by list
    ├── lists.columns.npy   (K,) int32: which of the vectors' coordinates those are
    └── lists.weight.npy    (2,) float32: what a vector was multiplied by; what a query is, for each
                            1 in its spare coordinates

faiss reads them from a memory map, without the interpreter's lock.

A row is `P` coordinates, a multiple of 32: for that faiss has a kernel of whole numbers, half as
quick again as of others.  It cuts a query's fractions off, so that a query is rounded here.  The
bias as a coordinate is Bachrach et al. (2014); here it is spread over all that are spare, and a
query has the same number in each of them.  Where the vectors' width leaves none, the `SPARE` of
their coordinates that differ least are left out: the best are scored again from whole rows anyway.

Two of the C centres are made up, by the last coordinate, which no row has and every query has.  One
is nearest to every query: its list are the items with the heaviest bias, for other centres say
nothing of that, and of the rows of zeros, which have no direction, the `ZEROS` heaviest.  One is
farthest: its list are the remaining rows of zeros.

Shapes: `V` items, `D` width, `K` of its coordinates, `P` of a row, `C` centres, `N` rows asked for.
"""

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from clients.serving.snapshot.exact import dots
from clients.serving.snapshot.opening import opening

FILES = ("lists.faiss", "lists.columns.npy", "lists.weight.npy")

READ = 0.03
"""Part of all rows that a search reads, beside those with the heaviest bias."""

LEAST_READ = 20_000
"""Rows that a search reads at least."""

ZEROS = 1000

SPARE = 4
"""Coordinates of a row that are not the vectors', at least."""

MISSED = 0.02
"""How far an estimate is from the truth, for an interest of unit length, at most by far."""

_ZERO = np.uint8(128)  # faiss' code of 0
_AT_ONCE = 512  # rows: they stay in a core's cache

_WIDE = 256  # from so many on some can be left out

_FILTERED = 0.25  # of rows that are farther apart half as many do


def padded(width: int) -> int:
    """P, for vectors of this width."""
    least = width if width >= _WIDE else width + SPARE
    return -(-least // 32) * 32


class Lists:
    """The lists, opened; nothing changes after that, so that threads can share it.

    Args:
        folder: where `build_lists` wrote them.
        items, width: V and D.
        files: name -> SHA-256 that each file has to have; None does not look.

    Raises:
        RunError: a file is missing, damaged, or of other items.
    """

    def __init__(
        self, folder: Path, items: int, width: int, files: Mapping[str, str] | None = None
    ) -> None:
        import faiss

        self._faiss: Any = faiss
        self._items, self._row = items, padded(width)
        with opening(folder, FILES, files):
            # Rows, ids and centres stay in the file.
            index: Any = faiss.read_index(str(folder / FILES[0]), faiss.IO_FLAG_MMAP_IFC)
            self._columns = np.load(folder / FILES[1], allow_pickle=False)
            self._scale, self._weight = np.load(folder / FILES[2], allow_pickle=False).tolist()
            fits = (
                isinstance(index, faiss.IndexIVFScalarQuantizer)
                and index.nlist > 2
                and (index.ntotal, index.d, index.code_size) == (items, self._row, self._row)
                and self._columns.shape == (min(width, self._row - SPARE),)
            )
            if not fits:
                raise ValueError("an index of other items")
            self._codes, self._places = _laid_out(index)
        self._index = index
        # Every call of faiss gives up the interpreter's lock, be it for a number only.
        self._centres: int = index.nlist
        self._always: int = index.invlists.list_size(self._centres - 2)
        self._plain: dict[int, Any] = {}
        # Or searches would bring in its pages for minutes to come.
        self._read(np.zeros(width, np.float32), 1, None, most=0, biased=False)

    def estimate(
        self, query: NDArray[np.float32], rows: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """(N,) inner products, from what the lists hold of the rows; nearly always within `MISSED`.

        Args:
            query: (D,).
            rows: in any order, and more than once if need be.
        """
        query = query[self._columns]
        times = 127 / max(float(np.abs(query).max()), 1e-30)
        asked = np.zeros(self._row, np.int8)
        asked[: len(query)] = np.rint(query * np.float32(times))
        found = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _AT_ONCE):
            kept = self._codes[self._places[rows[start : start + _AT_ONCE]]]
            kept ^= _ZERO
            found[start : start + _AT_ONCE] = dots(kept.view(np.int8), asked)
        found /= np.float32(times * self._scale)
        return found

    def candidates(
        self,
        query: NDArray[np.float32],
        count: int,
        allowed: NDArray[np.bool_] | None,
        *,
        biased: bool,
        part: int = 1,
    ) -> NDArray[np.int64]:
        """Up to `count` allowed items, the best estimate first, from the lists near the query.

        Args:
            query: (D,), not all zero.
            allowed: (V,); only those that are allowed count as read, so that with it so many more
                lists are read.
            biased: whether the bias counts.
            part: one in so many of the rows that are read else.
        """
        wanted = max(LEAST_READ, int(READ * self._items)) // part
        share = 1.0 if allowed is None else float(np.count_nonzero(allowed)) / len(allowed)
        most = int(share * self._always) + wanted // (2 if share <= _FILTERED else 1)
        return self._read(query, count, allowed, most=most, biased=biased)

    def _read(
        self,
        query: NDArray[np.float32],
        count: int,
        allowed: NDArray[np.bool_] | None,
        *,
        most: int,
        biased: bool,
    ) -> NDArray[np.int64]:
        """(N,) from the nearest list on, until `most` allowed rows were read; 0 is all."""
        query = query[self._columns]
        largest = max(float(np.abs(query).max()), 1e-30)
        spare = min(127, int(127 / (self._weight * largest))) if biased else 0
        # None: an interest so long that no bias counts beside it.
        times = spare * self._weight if spare else 127 / largest
        asked = np.full((1, self._row), spare, np.float32)
        asked[0, : len(query)] = np.rint(query * np.float32(times))
        asked[0, -1] = 1.0
        parameters = self._parameters(most, allowed)
        rows: NDArray[np.int64] = self._index.search(asked, count, params=parameters)[1][0]
        return rows[rows >= 0]

    def _parameters(self, most: int, allowed: NDArray[np.bool_] | None) -> Any:
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            return self._of(most, sel=self._faiss.IDSelectorBitmap(bits))  # which keeps them
        if most not in self._plain:
            self._plain[most] = self._of(most)
        return self._plain[most]

    def _of(self, most: int, **how: Any) -> Any:
        return self._faiss.SearchParametersIVF(nprobe=self._centres, max_codes=most, **how)


def _laid_out(index: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes under the lists, cut at every one of them, and (V,) at which cut an item begins.

    For faiss' own way to a row, `reconstruct_batch`, takes 30 us, and an answer needs thousands.
    The lists lie in one file, their ids between them: of the cuts only an item's is a row.  The
    bytes keep the index, whose they are.

    Raises:
        ValueError: an item is in no list, or one is in a list that is not among the items.
    """
    from faiss import rev_swig_ptr

    lists, items, across = index.invlists, index.ntotal, index.code_size
    begin = np.zeros(items, np.int64)  # addresses
    for one in range(index.nlist):
        size = lists.list_size(one)
        if not size:
            continue  # nothing is where it points
        ids = rev_swig_ptr(lists.get_ids(one), size)
        if ids.min() < 0 or ids.max() >= items:
            raise ValueError("an index of other items")
        begin[ids] = int(lists.get_codes(one)) + np.arange(size) * across
    if not begin.all():
        raise ValueError("an index of other items")
    first, last = int(begin.min()), int(begin.max())
    memory: Any = (ctypes.c_uint8 * (last - first + across)).from_address(first)
    memory.index = index
    content = np.ctypeslib.as_array(memory)
    rows = as_strided(content, (last - first + 1, across), (1, 1), writeable=False)
    return rows, begin - first
