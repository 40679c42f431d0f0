"""Two that are read as one: a snapshot's own, and the few that lie behind it.  Of the snapshot's
nothing is copied.

Shapes: `V` items of the snapshot, `N` behind them, `D` width, `R` rows asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(frozen=True)
class Stacked:
    """Vectors.

    Args:
        first: (V, D): an array, or what gives rows for an array of rows.
        more: (N, D).
    """

    first: Any
    more: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.first) + len(self.more)

    def __getitem__(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """(R, D)."""
        split = len(self.first)
        behind = rows >= split
        found = np.empty((len(rows), self.more.shape[1]), np.float32)
        found[~behind] = self.first[rows[~behind]]
        found[behind] = self.more[rows[behind] - split]
        return found


class Joined(Sequence[T]):
    """Whatever has an order."""

    def __init__(self, first: Sequence[T], more: Sequence[T]) -> None:
        self._first, self._more = first, more

    def __len__(self) -> int:
        return len(self._first) + len(self._more)

    @overload
    def __getitem__(self, row: int) -> T: ...
    @overload
    def __getitem__(self, row: slice) -> list[T]: ...
    def __getitem__(self, row: int | slice) -> T | list[T]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        split = len(self._first)
        if not 0 <= row < split + len(self._more):
            raise IndexError(row)
        return self._first[row] if row < split else self._more[row - split]


class JoinedRows(Mapping[str, int]):
    """Item id -> row; of an id that both have, the one behind.

    Args:
        first: to the first V rows.
        more: to the N after them.
    """

    def __init__(self, first: Mapping[str, int], more: Mapping[str, int]) -> None:
        self._first, self._more = first, more

    def __len__(self) -> int:
        return len(self._first) + sum(item not in self._first for item in self._more)

    def __iter__(self) -> Iterator[str]:
        return chain((item for item in self._first if item not in self._more), self._more)

    def __getitem__(self, item_id: str) -> int:
        found = self._more.get(item_id)
        return self._first[item_id] if found is None else found


@dataclass(frozen=True)
class Shown:
    """The items for people; the names are those of `shared.catalogue.Catalogue`."""

    ids: Sequence[str]
    texts: Sequence[str]
    titles: Sequence[str]
    categories: Sequence[tuple[str, ...]]
    row_of: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.ids)
