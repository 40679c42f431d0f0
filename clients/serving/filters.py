"""Which items may be shown: what the operator has blocked, and what a request filters."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clients.serving.answers import NO_FILTERS, Filters
from clients.serving.snapshot.snapshot import Snapshot


@dataclass(frozen=True)
class Shelf:
    """A snapshot's items by category, and those that are blocked.

    Args:
        snapshot: whose items.
        blocked_items: ids.
        blocked_categories: names; an item with one of them in its path is blocked.
    """

    snapshot: Snapshot
    blocked_items: tuple[str, ...] = ()
    blocked_categories: tuple[str, ...] = ()

    @cached_property
    def by_category(self) -> dict[str, NDArray[np.int32]]:
        """Category name -> rows."""
        return self.snapshot.catalogue.categories.by_name()

    @cached_property
    def open(self) -> NDArray[np.bool_]:
        """(V,) what is not blocked."""
        mask = np.ones(len(self.snapshot.catalogue), bool)
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
        if asked == NO_FILTERS and not (self.blocked_items or self.blocked_categories):
            return None
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
        row_of = self.snapshot.catalogue.row_of
        return [row_of[item] for item in item_ids if item in row_of]
