"""A snapshot, and the items that were put since: they lie behind its own, in a small side array.
And which of both are not offered any more.

An item that is put with another text than the snapshot has it gets a row there too.  It keeps what
the platform's data says of it (popularity, co-occurrence); its old row stays where it is, and is
`replaced`: shown to nobody.

An item that was deleted keeps its row as well: histories that have it are read as before.  It is
`hidden`, like what was replaced, and nobody knows it (`known`).

A stock does not change: what is put or deleted makes a new one, which shares the snapshot's arrays.

Shapes: `V` items of the snapshot, `N` of the side array, `D` width.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.serving.answers import NewItem
from clients.serving.joined import Joined, JoinedRows, Shown, Stacked
from clients.serving.snapshot.columns import Columns
from clients.serving.snapshot.head import Head
from clients.serving.snapshot.snapshot import Snapshot
from clients.serving.stocked_index import StockedIndex
from shared.catalogue import Catalogue
from shared.events import Sequences


@dataclass(frozen=True, eq=False)
class Stock(Snapshot):
    """See the module.

    Args:
        base: the snapshot.
        head: its head.
        put: N items, of different ids.
        put_items, put_vectors: (N, D), adapted and frozen; in half precision as the snapshot's
            own are, so that a text has one vector wherever it lies.
        deleted: id -> row in the snapshot, -1 where it has none; of all that is not offered.
    """

    base: Snapshot = field(kw_only=True)
    head: Head = field(kw_only=True)
    put: tuple[NewItem, ...] = field(kw_only=True, default=())
    put_items: NDArray[np.float16] = field(kw_only=True)
    put_vectors: NDArray[np.float16] = field(kw_only=True)
    deleted: Mapping[str, int] = field(kw_only=True, default_factory=dict)

    @classmethod
    def of(cls, base: Snapshot, head: Head) -> "Stock":
        """With nothing put."""
        none = np.zeros((0, head.shape[1]), np.float16)
        return cls(base.folder, base.meta, base=base, head=head, put_items=none, put_vectors=none)

    def with_put(
        self,
        changed: Sequence[NewItem],
        items: NDArray[np.float32],
        vectors: NDArray[np.float32],
    ) -> "Stock":
        """The stock with `changed`, of different ids, in the place of what was put under them; none
        of them is deleted then.

        What the snapshot has in just this way needs no row of its own.

        Args:
            items, vectors: (len(changed), D), adapted and frozen.
        """
        anew = {one.item_id for one in changed}
        kept = [row for row, one in enumerate(self.put) if one.item_id not in anew]
        own = [row for row, one in enumerate(changed) if one != self.own(one.item_id)]
        return replace(
            self,
            put=(*(self.put[row] for row in kept), *(changed[row] for row in own)),
            put_items=np.concatenate([self.put_items[kept], items[own].astype(np.float16)]),
            put_vectors=np.concatenate([self.put_vectors[kept], vectors[own].astype(np.float16)]),
            deleted={item: row for item, row in self.deleted.items() if item not in anew},
        )

    def without(self, item_ids: Iterable[str]) -> "Stock":
        """The stock with these deleted too; ids that nobody has do no harm."""
        row_of = self.base.catalogue.row_of
        rows = {item: row_of.get(item, -1) for item in item_ids if item not in self.deleted}
        return replace(self, deleted={**self.deleted, **rows}) if rows else self

    def own(self, item_id: str) -> NewItem | None:
        """An item as the snapshot has it."""
        catalogue = self.base.catalogue
        row = catalogue.row_of.get(item_id)
        return None if row is None else _written(catalogue, row)

    def known(self, item_id: str) -> NewItem | None:
        """An item as it is now; None for one that was deleted."""
        row = None if item_id in self.deleted else self.catalogue.row_of.get(item_id)
        return None if row is None else _written(self.catalogue, row)

    @cached_property
    def more(self) -> Catalogue | None:
        """The N items of the side array; None where there are none."""
        if not self.put:
            return None
        return Catalogue(
            ids=tuple(one.item_id for one in self.put),
            texts=tuple(one.text for one in self.put),
            titles=tuple(one.title for one in self.put),
            categories=tuple(one.category for one in self.put),
        )

    @cached_property
    def _home(self) -> NDArray[np.int64]:
        """(N,) row in the snapshot, -1 where it has none."""
        row_of = self.base.catalogue.row_of
        return np.array([row_of.get(one.item_id, -1) for one in self.put], np.int64)

    @cached_property
    def replaced(self) -> NDArray[np.int64]:
        """Rows of the snapshot whose items have a newer one, rising."""
        return np.sort(self._home[self._home >= 0])

    @cached_property
    def hidden(self) -> NDArray[np.int64]:
        """Rows that are shown to nobody, rising: replaced, or deleted."""
        own = [row for row in self.deleted.values() if row >= 0]
        first = len(self.base.popularity)
        put = [first + row for row, one in enumerate(self.put) if one.item_id in self.deleted]
        return np.union1d(self.replaced, np.array([*own, *put], np.int64))

    @cached_property
    def _newer(self) -> NDArray[np.int64]:
        """The rows in the place of `replaced`."""
        order = np.argsort(self._home, kind="stable")
        return len(self.base.popularity) + order[self._home[order] >= 0]

    def current(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """See `Snapshot`."""
        found, old = rows.astype(np.int64), self.replaced
        if not len(old):
            return found
        places = np.minimum(np.searchsorted(old, found), len(old) - 1)
        return np.where(old[places] == found, self._newer[places], found)

    def homes(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """See `Snapshot`."""
        found = rows.astype(np.int64)
        new = found >= len(self.base.popularity)
        found[new] = self._home[found[new] - len(self.base.popularity)]
        return found

    def _widened(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """A value an item from a value a row of the platform's own data; 0 where it has none."""
        if not self.put:
            return values
        return np.concatenate([values, self._at_home(values)])

    def _at_home(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N,)."""
        return np.where(self._home >= 0, values[self._home], np.float32(0))

    @cached_property
    def items(self) -> Any:
        """(V + N, D) adapted items, by rows."""
        return Stacked(self.base.items, self.put_items) if self.put else self.base.items

    @cached_property
    def vectors(self) -> Any:
        """(V + N, D) frozen items, by rows."""
        return Stacked(self.base.vectors, self.put_vectors) if self.put else self.base.vectors

    @cached_property
    def frozen(self) -> Any:
        """See `Snapshot`."""
        return Stacked(self.base.frozen, self.put_vectors) if self.put else self.base.frozen

    @cached_property
    def index(self) -> Any:
        """Searches all of them, and finds nothing that was replaced."""
        if not self.put:
            return self.base.index
        bias = self._at_home(self.base.bias)
        items = len(self.base.popularity)
        return StockedIndex(self.base.index, items, self.put_items, bias, self.replaced)

    @cached_property
    def popularity(self) -> NDArray[np.float32]:
        """(V + N,) log-popularity; a new item's is 0."""
        return self._widened(self.base.popularity)

    @cached_property
    def bias(self) -> NDArray[np.float32]:
        """(V + N,) what popularity adds to a score."""
        return self._widened(self.base.bias)

    @cached_property
    def catalogue(self) -> Any:
        """The items, for people."""
        base, more = self.base.catalogue, self.more
        if more is None:
            return base
        behind = {item: len(base) + row for row, item in enumerate(more.ids)}
        return Shown(
            Joined(base.ids, more.ids),
            Joined(base.texts, more.texts),
            Joined(base.titles, more.titles),
            Joined(base.categories, more.categories),
            JoinedRows(base.row_of, behind),
        )

    @cached_property
    def users(self) -> NDArray[np.float16]:
        """See `Snapshot`."""
        return self.base.users

    @cached_property
    def together(self) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
        """See `Snapshot`; of its own items."""
        return self.base.together

    @cached_property
    def sequences(self) -> Sequences:
        """See `Snapshot`; rows of its own items."""
        return self.base.sequences

    @cached_property
    def number_of(self) -> dict[str, int]:
        """See `Snapshot`."""
        return self.base.number_of


def _written(catalogue: Columns | Shown, row: int) -> NewItem:
    return NewItem(
        item_id=catalogue.ids[row],
        title=catalogue.titles[row],
        category=catalogue.categories[row],
        text=catalogue.texts[row],
    )
