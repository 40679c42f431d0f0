"""Scanning: every row's score estimated quickly, and the few that can be among the best known for
certain.

An estimate comes from NumKong's integer or half-precision kernels, with a bound on how far it is
from the score; whoever can be among the best k is kept and scored again.  Nothing here is
approximate: the bounds are Cauchy-Schwarz, and what is kept holds all of the best k.

1. Half-precision rows, query rounded to half precision: |v.q - v.q'| <= |v| |q - q'|.
2. Rows and query rounded to 8 bits, v = v' / s + e and q = q' / t + f:
   |v.q - v'.q' / (s t)| <= |e| |q| + (|v| + |e|) |f|.

Shapes: `V` rows, `D` width, `N` of the rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST = 1.001
"""A unit row may be this long: it has been rounded to half precision."""

_ROUNDING = 1e-4
"""Of float32 sums over some hundred terms, relative to |v| |q|; both the estimate and the score."""

Rows = NDArray[np.integer] | None
"""Which rows; None is all of them."""


@dataclass(frozen=True)
class HalfScan:
    """Scans half-precision rows as they lie on disk.

    Args:
        vectors: (V, D) float16, C-contiguous.
    """

    vectors: NDArray[np.float16]

    def estimate(
        self, query: NDArray[np.float32], rows: Rows = None
    ) -> tuple[NDArray[np.float32], float]:
        """(N,) inner products, and how far from the truth they can be.

        Args:
            query: (D,), not all zero.
        """
        largest = float(np.abs(query).max())
        scaled = query / np.float32(largest)  # so that no small query is lost in rounding
        rounded = scaled.astype(np.float16)
        missed = float(np.linalg.norm(scaled - rounded.astype(np.float32)))
        bound = LONGEST * (missed + _ROUNDING * float(np.linalg.norm(scaled)))
        asked = _taken(self.vectors, slice(None) if rows is None else rows)
        return dots(asked, rounded) * np.float32(largest), bound * largest


@dataclass(frozen=True)
class ByteScan:
    """Scans rows of 8-bit integers.

    Args:
        codes: (V, D) int8.
        scale: a row times this was rounded.
        missed: (V,) length of what rounding took from each row, rounded up.
    """

    codes: NDArray[np.int8]
    scale: float
    missed: NDArray[np.float16]

    def estimate(
        self, query: NDArray[np.float32], rows: Rows = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N,) inner products, and (N,) how far from the truth each can be.

        Args:
            query: (D,), not all zero.
        """
        step = float(np.abs(query).max()) / 127
        asked = np.rint(query / np.float32(step)).astype(np.int8)
        lost = float(np.linalg.norm(query - asked * np.float32(step)))
        length = float(np.linalg.norm(query))
        which: slice | NDArray[np.integer] = slice(None) if rows is None else rows
        bound = self.missed[which].astype(np.float32) * np.float32(length + lost)
        bound += np.float32(LONGEST * (lost + _ROUNDING * length))
        found = dots(_taken(self.codes, which), asked)
        return found * np.float32(step / self.scale), bound


def dots(rows: NDArray[np.generic], query: NDArray[np.generic]) -> NDArray[np.float32]:
    """(N,) inner products of (N, D) rows and a (D,) query of the same type; frees the GIL."""
    import numkong

    if not len(rows):
        return np.zeros(0, np.float32)
    found: NDArray[np.float32] = np.asarray(numkong.dot(rows, query, out_dtype="float32"))
    return found


def _taken(array: NDArray[np.generic], rows: slice | NDArray[np.integer]) -> NDArray[np.generic]:
    """Twice as quick as indexing, for rows one by one."""
    return array[rows] if isinstance(rows, slice) else np.take(array, rows, axis=0)


def reaching(
    estimates: NDArray[np.float32], bound: NDArray[np.float32] | float, k: int
) -> NDArray[np.int64]:
    """Places that can be among the `k` largest when each value may be off by its bound.

    Args:
        estimates: (N,); -inf is never among them.
        bound: (N,) or one for all, >= 0.
    """
    reached = estimates >= _least(estimates - bound, k) - bound
    return np.flatnonzero(reached & (estimates > -np.inf))


def _least(values: NDArray[np.float32], k: int) -> np.float32:
    """A value that at least `k` reach, near the k-th largest; -inf where there are not so many."""
    if k > len(values):
        return np.float32(-np.inf)
    many = len(values) // (8 * k)
    if many > 1:
        # k of the largest of each group reach it; sorting all of a million would take as long as
        # scanning them
        whole = len(values) // many * many
        values = values[:whole].reshape(-1, many).max(axis=1)
    found: np.float32 = np.partition(values, len(values) - k)[len(values) - k]
    return found
