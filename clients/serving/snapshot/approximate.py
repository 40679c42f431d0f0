"""Inverted lists over the item vectors: the few that a query points at are read, not all.

    FOLDER/
    ├── lists.codes.npy      (V, D) int8 rows, list after list
    ├── lists.order.npy      (V,) int32: which item each of those rows is
    ├── lists.missed.npy     (V,) float16: length of what rounding took from each
    ├── lists.starts.npy     (C + 3,) int64: where each list begins, see below
    ├── lists.centres.npy    (C, D) float32 unit centres
    └── lists.scale.npy      () float32: a row times this was rounded

After the C lists of `centres` come two more: the items with the heaviest bias, which every search
reads because a centre says nothing of them, and the rows of zeros, which have no direction and
whose score is their bias: the heaviest first.

That is how the bias is folded in.  Bachrach et al. (2014) make it a coordinate, for indexes that
know distances only; a list is read row by row, where the bias is simply added.

Shapes: `V` items, `D` width, `C` centres.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.exact import ByteScan, dots
from shared.errors import RunError
from shared.files import file_sha256

PARTS = ("codes", "order", "missed", "starts", "centres", "scale")
FILES = tuple(f"lists.{part}.npy" for part in PARTS)

READ = 0.03
"""Part of all rows that a search reads."""

LEAST_READ = 20_000
"""Rows that a search reads at least."""

_FAR_FEWER = 4
_DENSE = 0.25


class Lists:
    """The lists, opened; nothing changes after that, so that threads can share it.

    Args:
        folder: where `build_lists` wrote them.
        bias: (V,) of the items.
        width: D.
        files: name -> SHA-256 that each file has to have; None does not look.

    Raises:
        RunError: a file is missing, damaged, or of other items.
    """

    def __init__(
        self,
        folder: Path,
        bias: NDArray[np.float32],
        width: int,
        files: Mapping[str, str] | None = None,
    ) -> None:
        try:
            for name in FILES if files is not None else ():
                if file_sha256(folder / name) != (files or {})[name]:
                    raise ValueError(f"a damaged {name}")
            parts = [_part(folder, name, mapped=name == FILES[0]) for name in FILES]
            codes, self.order, missed, self.starts, self.centres, scale = parts
            self._check(codes, missed, scale, len(bias), width)
            codes[:, :1].max(initial=0)  # or searches would bring in its pages for minutes to come
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise RunError(
                expected="the index of a snapshot",
                got=str(error) if isinstance(error, ValueError) else "none",
                where=str(folder),
                remedy="Remove the folder: `fedinterest-client serve` makes it again.",
            ) from error
        self.scan = ByteScan(codes, float(scale), missed)
        self._bias = bias[self.order]
        self.place = np.empty(len(self.order), np.int32)
        """(V,) where an item's row lies."""
        self.place[self.order] = np.arange(len(self.order), dtype=np.int32)

    def _check(self, codes: Any, missed: Any, scale: Any, items: int, width: int) -> None:
        lists = len(self.centres)
        fits = (
            (codes.shape, codes.dtype) == ((items, width), np.int8)
            and (self.order.shape, self.order.dtype) == ((items,), np.int32)
            and (missed.shape, missed.dtype) == ((items,), np.float16)
            and self.starts.shape == (lists + 3,)
            and self.centres.shape == (lists, width)
            and scale.shape == ()
            and (self.starts[0], self.starts[-1]) == (0, items)
            and bool((np.diff(self.starts) >= 0).all())
            and bool((np.bincount(self.order, minlength=items) == 1).all())
        )
        if not fits:
            raise ValueError("an index of other items")

    def estimate(
        self, query: NDArray[np.float32], *, biased: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(V,) scores of all rows as they lie, and (V,) how far off each may be."""
        values, bound = self.scan.estimate(query)
        return values + self._bias if biased else values, bound

    def candidates(
        self,
        query: NDArray[np.float32],
        count: int,
        allowed: NDArray[np.bool_] | None,
        *,
        biased: bool,
        part: int = 1,
    ) -> NDArray[np.int64]:
        """Up to `count` allowed items, the best estimate first, and as many rows of zeros.

        Args:
            query: (D,), not all zero.
            allowed: (V,); with it so many more rows are read that, on average, as many allowed ones
                are.  None at all come back where there were far fewer.
            biased: whether the bias counts.
            part: one in so many of the rows that are read else.
        """
        share = 1.0 if allowed is None else float(np.count_nonzero(allowed)) / len(allowed)
        wanted = max(LEAST_READ, int(READ * len(self.order))) // part
        if share <= _DENSE:
            wanted //= 2  # of rows one by one
        spans = self._spans(query, int(wanted / share))
        asked, step = self.scan.rounded(query)
        places = np.concatenate([np.arange(start, stop) for start, stop in spans])
        kept = None if allowed is None else np.take(allowed, self.order[places])
        if kept is not None and np.count_nonzero(kept) < wanted // _FAR_FEWER:
            return np.zeros(0, np.int64)
        if share > _DENSE:  # rows in the order they lie in are read quickly, the others with them
            found = [self.scan.dots(slice(start, stop), asked) for start, stop in spans]
            values = np.concatenate(found)
            if kept is not None:
                places, values = places[kept], values[kept]
        else:
            places = places[kept]
            values = self.scan.dots(places, asked)
        values *= np.float32(step / self.scan.scale)
        if biased:
            values += self._bias[places]
        if count < len(values):
            most = np.argpartition(-values, count)[:count]
            places, values = places[most], values[most]
        best = self.order[places[np.argsort(-values, kind="stable")]]
        return np.concatenate([best, self._zeros(count, allowed)]).astype(np.int64)

    def _spans(self, query: NDArray[np.float32], wanted: int) -> list[tuple[int, int]]:
        """(start, stop) of the lists to read."""
        lists = len(self.centres)
        nearest = np.argsort(-dots(self.centres, query))  # BLAS would wake threads that spin
        seen = np.cumsum(np.diff(self.starts)[nearest])
        chosen = nearest[: int(np.searchsorted(seen, wanted)) + 1]
        rows = [(int(self.starts[one]), int(self.starts[one + 1])) for one in chosen]
        return [*rows, (int(self.starts[lists]), int(self.starts[lists + 1]))]

    def _zeros(self, count: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.int32]:
        zeros: NDArray[np.int32] = self.order[self.starts[-2] :]
        return (zeros if allowed is None else zeros[allowed[zeros]])[:count]


def _part(folder: Path, name: str, *, mapped: bool) -> NDArray[Any]:
    found: NDArray[Any] = np.load(
        folder / name, mmap_mode="r" if mapped else None, allow_pickle=False
    )
    return np.asarray(found)
