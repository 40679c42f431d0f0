"""The items with the largest inner product plus bias: exactly, or by lists where there are many.

Up to `EXACT_LIMIT` items every row is scanned, and those that can be among the best are scored
again from their half-precision rows: the answer is what sorting all scores would give (`exact`).
Up to `SMALL` items the half-precision rows themselves are scanned, beyond 8-bit ones (`byte_rows`).
Beyond the limit only the lists near the interest are read (`approximate`, by faiss).

Filters never cost correctness.  A search with few allowed items scans those.  With many it reads
lists until it has seen as many of them as it sees without a filter; where too few items come of
that it scans after all.  Interests of zeros, which have no direction, are answered from the bias
alone.

docs/decisions/0013-searching-items.md has the measurements behind the numbers here.

Shapes: `V` items, `D` width, `N` of the items.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.approximate import FILES as LISTS
from clients.serving.snapshot.approximate import MISSED, Lists
from clients.serving.snapshot.byte_rows import ByteRows
from clients.serving.snapshot.exact import ByteScan, HalfScan, reaching
from clients.serving.snapshot.index_build import EXACT_LIMIT, SMALL, check_items, index_files
from clients.serving.snapshot.index_rows import Rows, given_back

_MARGIN = 40  # candidates beyond k that are scored again: 8 bits order close ones wrongly
_SPARSE = 33  # one in so many allowed, or fewer: those are scanned, which takes as long then
_WIDEST = 200  # one in so many as candidates, or more: all are scanned
_ROUGHLY = 8
_NONE: NDArray[np.int64] = np.zeros(0, np.int64)

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


class Index:
    """Items to search; safe to be used from many threads.

    Args:
        vectors, bias: see `open`.
        beside: what was opened beside the vectors; with lists searches are not exact.
    """

    def __init__(
        self,
        vectors: NDArray[np.float16],
        bias: NDArray[np.float32],
        beside: ByteRows | Lists | None = None,
    ) -> None:
        self._lists = beside if isinstance(beside, Lists) else None
        self._bytes = beside if isinstance(beside, ByteRows) else None
        self.exact = self._lists is None
        self._bias = np.asarray(bias)
        self._rows = Rows(vectors, self._bias, apart=beside is not None)
        half = given_back(vectors) if self._lists is not None else np.asarray(vectors)
        self._scan: HalfScan | ByteScan = self._bytes.scan if self._bytes else HalfScan(half)

    @classmethod
    def open(
        cls,
        vectors: NDArray[np.float16],
        bias: NDArray[np.float32],
        folder: Path,
        *,
        limit: int = EXACT_LIMIT,
        small: int = SMALL,
        files: Mapping[str, str] | None = None,
    ) -> "Index":
        """The index of a folder.

        Args:
            vectors: (V, D), as given to `build_index`; a memory map stays one.
            bias: (V,).
            limit, small: as given to `build_index`.
            files: name -> SHA-256 of the index's files; None does not look.

        Raises:
            ConfigError: see `build_index`.
            RunError: the files are missing, damaged, or of other items.
        """
        check_items(vectors, bias)
        needed, (items, width) = index_files(len(vectors), limit, small), vectors.shape
        if needed == LISTS:
            return cls(vectors, bias, Lists(folder, items, width, files))
        return cls(vectors, bias, ByteRows(folder, items, width, files) if needed else None)

    def vectors(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """(N, D) the vectors of `rows`."""
        return self._rows.read(rows)

    def scores(
        self, query: NDArray[np.float32], rows: NDArray[np.integer], *, biased: bool = True
    ) -> NDArray[np.float32]:
        """(N,) inner product plus bias of `rows`, summed in float32.

        Args:
            query: (D,) finite.
            biased: False leaves the bias out.
        """
        return self._rows.scores(query, rows, biased=biased)

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.bool_] | None = None,
        without: NDArray[np.integer] = _NONE,
        biased: bool = True,
        roughly: bool = False,
    ) -> Found:
        """The `k` best items and their scores, see `scores`; fewer where there are fewer.

        Args:
            query: (D,) finite.
            k: >= 0.
            allowed: (V,) items that may be among them; None is all.
            without: rows that may not, in any order.
            biased: see `scores`.
            roughly: miss some: an eighth of what is read else, or by their signs; for what is shown
                to nobody as a ranking.

        Returns:
            rows and scores by descending score, ties by row.
        """
        query = np.ascontiguousarray(query, np.float32)
        if allowed is not None and len(without):
            allowed = allowed.copy()
            allowed[without] = False
            without = _NONE
        count = len(self._bias) if allowed is None else int(np.count_nonzero(allowed))
        if k <= 0 or count == 0:
            return _NONE, np.zeros(0, np.float32)
        rows = self._likely(query, k, allowed, without, count, biased, roughly)
        if rows is None:
            rows = self._scanned(query, k, allowed, without, count, biased)
        scores = self.scores(query, rows, biased=biased)
        kept = np.lexsort((rows, -scores))[:k]
        return rows[kept], scores[kept]

    def reaching(
        self,
        query: NDArray[np.float32],
        rows: NDArray[np.integer],
        extra: NDArray[np.float32],
        least: float,
    ) -> NDArray[np.bool_]:
        """(N,) which of `rows` can reach `least` when `extra` is added to their scores.

        All that do are among them (by lists: nearly always); others may be, for it is decided by
        estimates.

        Args:
            query: (D,) finite.
            extra: (N,).
        """
        values: NDArray[np.float32]
        bound: NDArray[np.float32] | float = MISSED
        if self._lists is not None and len(rows):
            values = self._lists.estimate(query, rows) + self._bias[rows]
        else:
            values, bound = self._estimates(query, rows, biased=True)
        reached: NDArray[np.bool_] = values + extra + bound >= least
        return reached

    def _likely(
        self,
        query: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.bool_] | None,
        without: NDArray[np.integer],
        count: int,
        biased: bool,
        roughly: bool,
    ) -> NDArray[np.int64] | None:
        """At least `k` candidates; None where scanning is better or has to be done."""
        items = len(self._bias)
        if not query.any() or count <= items // _SPARSE:
            return None
        wide = k + max(_MARGIN, k // 4) + len(without)
        if wide > max(5 * _MARGIN, items // _WIDEST):
            return None
        if self._lists is not None:
            part = _ROUGHLY if roughly else 1
            found = self._lists.candidates(query, wide, allowed, biased=biased, part=part)
            if len(without):
                found = found[~np.isin(found, without)]
        elif self._bytes is not None and roughly:
            found = self._bytes.near(query, wide, allowed, without)
        else:
            return None
        return found if len(found) >= min(k, count - len(without)) else None

    def _scanned(
        self,
        query: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.bool_] | None,
        without: NDArray[np.integer],
        count: int,
        biased: bool,
    ) -> NDArray[np.int64]:
        """All that can be among the `k` best."""
        rows = None
        if allowed is not None and count < len(self._bias) // 4:
            rows, allowed = np.flatnonzero(allowed), None
        values, bound = self._estimates(query, rows, biased=biased)
        if allowed is not None:
            values[~allowed] = -np.inf
        if len(without):
            values[without] = -np.inf  # only where `rows` is all
        found = reaching(values, bound, k)
        return found if rows is None else rows[found]

    def _estimates(
        self, query: NDArray[np.float32], rows: NDArray[np.integer] | None, *, biased: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | float]:
        """Scores of `rows`, or of all, and how far off they may be."""
        values = self._bias if rows is None else self._bias[rows]
        values = values.copy() if biased else np.zeros_like(values)
        if not query.any():
            return values, 0.0
        part, bound = self._scan.estimate(query, rows)
        return values + part, bound
