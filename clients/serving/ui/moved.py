"""What a new model has changed in what is shown: for how many users, which items, which categories.

Shapes: `U` users, `V` items, `K` = 10 items shown.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.serving.answers import Item
from clients.serving.everyones import lists, sample
from clients.serving.loaded import Loaded
from clients.serving.ui.earlier import Before
from shared.groups.figures import NOTHING

_MOST = 6


@dataclass(frozen=True, kw_only=True)
class ItemMoved:
    """In how many users' lists an item was, and is."""

    item: Item
    before: int
    now: int

    @property
    def change(self) -> int:
        """Lists gained."""
        return self.now - self.before


@dataclass(frozen=True, kw_only=True)
class InterestMoved:
    """Share of all places in the lists that a category had, and has."""

    name: str
    before: float
    now: float

    @property
    def change(self) -> float:
        """Share gained."""
        return self.now - self.before


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What changed.

    Args:
        since: what it is compared with, in words.
        users: whose lists were looked at, drawn at random where not all were.
        of: how many there are.
        different: mean number of a list's items that were not in it before.
        same: share of the users whose ten items are the same ones.
        up, down: items that gained and lost most, at most 6 each.
        interests: categories whose share changed most, the largest change first.
    """

    since: str
    users: int
    of: int
    different: float
    same: float
    up: tuple[ItemMoved, ...]
    down: tuple[ItemMoved, ...]
    interests: tuple[InterestMoved, ...]


def moved(
    loaded: Loaded, before: Before, without: frozenset[str], rng: np.random.Generator
) -> Moved:
    """Compare the lists of the platform's users under two models: what either makes of the
    catalogue, without what was put since, and of what is still offered.

    Args:
        without: pseudonyms of users who opted out.
        rng: draws users, where there are many.
    """
    snapshot, items = loaded.stock.base, len(loaded.stock.base.catalogue)
    rows, of = sample(snapshot.sequences.users, items, rng, without=without)
    histories = [snapshot.sequences[int(row)] for row in rows if len(snapshot.sequences[int(row)])]
    allowed = loaded.own_open
    old = lists(snapshot, before.items, histories, allowed)[True].top
    new = lists(snapshot, snapshot.items, histories, allowed)[True].top
    fresh = np.array(
        [
            len(set(now.tolist()) - set(then.tolist()) - {NOTHING})
            for then, now in zip(old, new, strict=True)
        ]
    )
    counts = [np.bincount(top[top != NOTHING].ravel(), minlength=items) for top in (old, new)]
    change = counts[1] - counts[0]
    order = np.argsort(change, kind="stable")

    def shown(rows: NDArray[np.int64]) -> tuple[ItemMoved, ...]:
        return tuple(
            ItemMoved(item=loaded.item(row), before=int(counts[0][row]), now=int(counts[1][row]))
            for row in rows.tolist()
        )

    return Moved(
        since=before.name,
        users=len(histories),
        of=of,
        different=float(fresh.mean()) if len(fresh) else 0.0,
        same=float((fresh == 0).mean()) if len(fresh) else 1.0,
        up=shown(order[::-1][: min(_MOST, int((change > 0).sum()))]),
        down=shown(order[: min(_MOST, int((change < 0).sum()))]),
        interests=_interests(loaded, counts[0], counts[1]),
    )


def _interests(
    loaded: Loaded, before: NDArray[np.int64], now: NDArray[np.int64]
) -> tuple[InterestMoved, ...]:
    """By the innermost category; items without one count in the whole only."""
    old: Counter[str] = Counter()
    new: Counter[str] = Counter()
    categories = loaded.snapshot.catalogue.categories
    for row in np.flatnonzero(before + now).tolist():
        if path := categories[row]:
            old[path[-1]] += int(before[row])
            new[path[-1]] += int(now[row])
    found = [
        InterestMoved(
            name=name,
            before=old[name] / max(int(before.sum()), 1),
            now=new[name] / max(int(now.sum()), 1),
        )
        for name in sorted(old)
    ]
    found = [one for one in found if abs(one.change) >= 0.001]
    return tuple(sorted(found, key=lambda one: (-abs(one.change), one.name))[:_MOST])
