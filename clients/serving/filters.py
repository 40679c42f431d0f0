"""Which items may be shown: what the operator has blocked, and what a request filters."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clients.serving.answers import NO_FILTERS, Filters
from clients.serving.joined import Shown
from clients.serving.snapshot.columns import Columns
from clients.serving.stock import Stock
from shared.catalogue import Catalogue


@dataclass(frozen=True)
class Shelf:
    """Items by category, and those that are blocked.

    Args:
        catalogue: the items.
        blocked_items: ids.
        blocked_categories: names; an item with one of them in its path is blocked.
        some_deleted: whether others are not open either.
    """

    catalogue: Columns | Shown | Catalogue
    blocked_items: tuple[str, ...] = ()
    blocked_categories: tuple[str, ...] = ()
    some_deleted: bool = False

    def over(self, stock: Stock) -> "Shelf":
        """The shelf of a stock of this snapshot; only what was put is looked at."""
        found = Shelf(stock.catalogue, *self._blocked, bool(stock.deleted))
        if stock.more is None:
            mask = self.open
            if len(stock.hidden):
                mask = mask.copy()
                mask[stock.hidden] = False
            found.__dict__.update(by_category=self.by_category, open=mask)
            return found
        first, own = len(self.open), Shelf(stock.more, *self._blocked)
        categories = dict(self.by_category)
        old = [self.catalogue.categories[row] for row in stock.replaced.tolist()]
        for name in {one for path in old for one in path}:
            left = categories[name]
            categories[name] = left[~np.isin(left, stock.replaced)]
        for name, rows in own.by_category.items():
            categories[name] = np.concatenate(
                [categories.get(name, rows[:0]), rows + np.int32(first)]
            )
        mask = np.concatenate([self.open, own.open])
        mask[stock.hidden] = False
        # worked out here from the snapshot's, and not by going through all items again
        found.__dict__.update(by_category=categories, open=mask)
        return found

    @property
    def _blocked(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.blocked_items, self.blocked_categories

    @cached_property
    def by_category(self) -> dict[str, NDArray[np.int32]]:
        """Category name -> rows."""
        if isinstance(self.catalogue, Columns):
            return self.catalogue.categories.by_name()
        found: defaultdict[str, list[int]] = defaultdict(list)
        for row, path in enumerate(self.catalogue.categories):
            for name in dict.fromkeys(path):
                found[name].append(row)
        return {name: np.array(rows, np.int32) for name, rows in found.items()}

    @cached_property
    def open(self) -> NDArray[np.bool_]:
        """(V,) what is not blocked, nor deleted."""
        mask = np.ones(len(self.catalogue), bool)
        mask[self._rows(self.blocked_items)] = False
        for name in self.blocked_categories:
            mask[self._in(name)] = False
        return mask

    def allowed(self, filters: Filters) -> NDArray[np.bool_] | None:
        """(V,) what may be shown; None is all.

        Ids and categories that nobody knows match nothing.  What the user has seen is for the
        caller to leave out.
        """
        asked = replace(filters, include_seen=False)
        if asked == NO_FILTERS:
            some = self.blocked_items or self.blocked_categories or self.some_deleted
            return self.open if some else None
        mask = self.open.copy()
        if filters.only_items:
            only = np.zeros_like(mask)
            only[self._rows(filters.only_items)] = True
            mask &= only
        if filters.categories:
            inside = np.zeros_like(mask)
            for name in filters.categories:
                inside[self._in(name)] = True
            mask &= inside
        for name in filters.exclude_categories:
            mask[self._in(name)] = False
        mask[self._rows(filters.exclude_items)] = False
        return mask

    def _in(self, name: str) -> NDArray[np.int32]:
        return self.by_category.get(name, np.zeros(0, np.int32))

    def _rows(self, item_ids: Iterable[str]) -> list[int]:
        row_of = self.catalogue.row_of
        return [row_of[item] for item in item_ids if item in row_of]
