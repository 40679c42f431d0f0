"""What answers at a moment: a snapshot with what was put beside it, and what is worked out of both
once; and questions that need no more than that.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clients.recommending.catalogue_words import CatalogueWords
from clients.recommending.interests import Interest as Group
from clients.recommending.interests import top_interests
from clients.serving import answers as a
from clients.serving import scores
from clients.serving.filters import Shelf
from clients.serving.people import rows_of
from clients.serving.snapshot.snapshot import Snapshot
from clients.serving.stock import Stock
from shared.errors import RunError, UnknownError


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A snapshot, with what was put, and what is worked out of it once.

    Args:
        own_shelf, own_words: of the snapshot alone.
    """

    snapshot: Snapshot
    shelf: Shelf
    words: CatalogueWords
    own_shelf: Shelf
    own_words: CatalogueWords
    at: float

    @classmethod
    def of(
        cls,
        snapshot: Snapshot,
        blocked_items: tuple[str, ...] = (),
        blocked_categories: tuple[str, ...] = (),
    ) -> "Loaded":
        """Read now what the first request would otherwise wait for."""
        catalogue = snapshot.catalogue
        shelf = Shelf(catalogue, blocked_items, blocked_categories)
        words = CatalogueWords(catalogue, catalogue.counted)
        _ = (shelf.open, shelf.by_category, snapshot.number_of)
        _ = (snapshot.index, snapshot.frozen, snapshot.together)
        return cls(
            snapshot=snapshot,
            shelf=shelf,
            words=words,
            own_shelf=shelf,
            own_words=words,
            at=time.time(),
        )

    def stocked(self, stock: Stock) -> "Loaded":
        """The same snapshot with another stock."""
        more, words = stock.more, self.own_words
        if more is not None:
            words = words.with_more(stock.catalogue, more)
        return replace(self, snapshot=stock, shelf=self.own_shelf.over(stock), words=words)

    @property
    def stock(self) -> Stock:
        """The snapshot with what was put.

        Raises:
            RunError: a snapshot that was not `stocked`.
        """
        if isinstance(self.snapshot, Stock):
            return self.snapshot
        raise RunError(expected="a stock", got="a snapshot alone", where=self.snapshot.meta.id)

    @property
    def own_open(self) -> NDArray[np.bool_]:
        """(V,) of the snapshot's own items those that may be shown, in whatever words."""
        mask = self.own_shelf.open.copy()
        mask[[row for row in self.stock.deleted.values() if row >= 0]] = False
        return mask

    @property
    def shown(self) -> int:
        """How many items are offered."""
        snapshot = self.snapshot
        old = len(snapshot.hidden) if isinstance(snapshot, Stock) else 0
        return len(snapshot.catalogue) - old

    def item(self, row: int) -> a.Item:
        """An item for people."""
        catalogue = self.snapshot.catalogue
        return a.Item(
            item_id=catalogue.ids[row],
            title=catalogue.titles[row],
            category=catalogue.categories[row],
        )

    def open_row(self, item_id: str) -> int:
        """The row of an item that may be shown; one that is blocked or deleted is as unknown as any
        other.
        """
        (row,) = rows_of(self.snapshot, (item_id,)).tolist()
        if not self.shelf.open[row]:
            raise UnknownError(expected="items of the catalogue", got="1 others", where="item_id")
        return int(row)

    def groups(self, read: NDArray[np.int64], most: int) -> list[Group]:
        """A history's interests, the heaviest first; at most `most`."""
        weights = scores.recency(len(read), self.snapshot.meta.decay)
        return self.groups_of(read, weights, most)

    def groups_of(
        self, read: NDArray[np.int64], weights: NDArray[np.float32], most: int
    ) -> list[Group]:
        """The interests of items with these weights."""
        index = self.snapshot.index

        def near(
            rows: NDArray[np.integer], shares: NDArray[np.float64], count: int
        ) -> NDArray[np.int64]:
            middle = shares.astype(np.float32) @ index.vectors(rows)
            return index.search(middle, count, biased=False, roughly=True)[0]

        return top_interests(
            read,
            weights,
            self.snapshot.frozen,
            self.words,
            most=most,
            are_unit=True,
            near=near,
        )

    def by_interest(self, read: NDArray[np.int64]) -> NDArray[np.float32]:
        """(D,) whose inner product with an item is the sum over the user's interests of weight
        times cosine.
        """
        total = np.zeros(self.snapshot.users.shape[1], np.float32)
        for group in self.groups(read, 5):
            rows = read[list(group.events)]
            vector = scores.interest(self.snapshot, rows)
            total += np.float32(group.weight) * vector
        return total

    def named(self, interest: str) -> NDArray[np.int32]:
        """Rows of the items of an interest that the catalogue has a name for, whatever its case.

        Raises:
            UnknownError: it is no category of what may be shown.
        """
        folded = {
            name.casefold(): name
            for name, rows in self.shelf.by_category.items()
            if self.shelf.open[rows].any()
        }
        name = folded.get(" ".join(interest.split()).casefold())
        if name is None:
            raise UnknownError(
                expected="an interest that is a category of the catalogue",
                got="another",
                where="interest",
                remedy=f"Some are {', '.join(sorted(folded)[:3])}."
                if folded
                else "This catalogue has none: ask by item.",
            )
        rows = self.shelf.by_category[name]
        return rows[self.shelf.open[rows]]
