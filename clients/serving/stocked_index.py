"""Searches a snapshot's items and those that were put behind them as one.

The snapshot's own are searched as ever, less those that have been replaced; what was put is few,
and every search of it is exact.

Shapes: `V` items of the snapshot, `N` that were put, `D` width, `R` rows asked for; rows from `V`
on are those that were put.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.index import Found, Index

S = TypeVar("S", bound=np.generic)

_NONE: NDArray[np.int64] = np.zeros(0, np.int64)


class StockedIndex:
    """The members of `Index`, and what they promise there.

    Args:
        base: searches the snapshot's own.
        items: V.
        vectors: (N, D) rows of unit length, or zero.
        bias: (N,) >= 0.
        replaced: rows of the snapshot that are not to be found.
    """

    def __init__(
        self,
        base: Index,
        items: int,
        vectors: NDArray[np.float16],
        bias: NDArray[np.float32],
        replaced: NDArray[np.int64],
    ) -> None:
        self.exact = base.exact
        self._base, self._items = base, items
        self._side = Index(np.ascontiguousarray(vectors), bias)
        self._kept: NDArray[np.bool_] | None = None
        if len(replaced):
            self._kept = np.ones(items, bool)
            self._kept[replaced] = False

    def vectors(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """(R, D) the vectors of `rows`."""
        return self._each(rows, lambda index, own, _: index.vectors(own))

    def scores(
        self, query: NDArray[np.float32], rows: NDArray[np.integer], *, biased: bool = True
    ) -> NDArray[np.float32]:
        """(R,); see `Index`."""
        return self._each(rows, lambda index, own, _: index.scores(query, own, biased=biased))

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
        """See `Index`; `allowed` is (V + N,)."""
        split = self._items
        first, more = (
            self._base.search(
                query,
                k,
                allowed=self._own(allowed),
                without=without[without < split],
                biased=biased,
                roughly=roughly,
            ),
            self._side.search(
                query,
                k,
                allowed=None if allowed is None else allowed[split:],
                without=without[without >= split] - split,
                biased=biased,
            ),
        )
        rows = np.concatenate([first[0], more[0] + split])
        scores = np.concatenate([first[1], more[1]])
        kept = np.lexsort((rows, -scores))[: max(k, 0)]
        return rows[kept], scores[kept]

    def reaching(
        self,
        query: NDArray[np.float32],
        rows: NDArray[np.integer],
        extra: NDArray[np.float32],
        least: float,
    ) -> NDArray[np.bool_]:
        """(R,); see `Index`."""
        return self._each(rows, lambda index, own, at: index.reaching(query, own, extra[at], least))

    def _own(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """(V,) what of the snapshot's own may be found; None is all."""
        if allowed is None or self._kept is None:
            return self._kept if allowed is None else allowed[: self._items]
        return allowed[: self._items] & self._kept

    def _each(
        self,
        rows: NDArray[np.integer],
        ask: Callable[[Index, NDArray[np.integer], NDArray[np.bool_]], NDArray[S]],
    ) -> NDArray[S]:
        """Ask each index about its own of the rows, at these places among them."""
        behind = rows >= self._items
        if not behind.any():
            return ask(self._base, rows, ~behind)
        more = ask(self._side, rows[behind] - self._items, behind)
        found = np.empty((len(rows), *more.shape[1:]), more.dtype)
        found[behind] = more
        if not behind.all():
            found[~behind] = ask(self._base, rows[~behind], ~behind)
        return found
