"""Users cut into groups, none of them smaller than `FEWEST`.

Three cuts are made: by how much is known of a user, by how popular the item is that is held out,
and by its category.  A group that is too small is put together with its neighbour and never shown
by itself: a figure over a handful of users is noise, and says something of each of them.

Shapes: `U` users, `V` items, `G` groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 20
HEAD = TAIL = 0.2
_CATEGORIES = 8
_OTHERS = "others"

ACTIVITY, POPULARITY, CATEGORY = "activity", "popularity", "category"


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One cut.

    Args:
        kind: `activity`, `popularity` or `category`.
        names: G names of groups.
        notes: what each holds, in words; "" where the name says it.
        members: (U,) number of each user's group.
        ordered: neighbours are alike, so that a small group joins one of its neighbours; without
            an order it joins the smallest other one, and the two are `others`.
    """

    kind: str
    names: tuple[str, ...]
    notes: tuple[str, ...]
    members: NDArray[np.int64]
    ordered: bool

    def merged(self, fewest: int = FEWEST) -> "Partition":
        """The same without groups of fewer than `fewest` users, and without empty ones.

        With fewer than `fewest` users altogether there is no group at all.
        """
        groups = [
            (name, note, np.flatnonzero(self.members == number))
            for number, (name, note) in enumerate(zip(self.names, self.notes, strict=True))
        ]
        groups = [group for group in groups if len(group[2])]
        while groups and (least := min(len(group[2]) for group in groups)) < fewest:
            if len(groups) == 1:
                groups = []
                break
            place = next(i for i, group in enumerate(groups) if len(group[2]) == least)
            groups = self._joined(groups, place)
        members = np.full(len(self.members), -1, np.int64)
        for number, group in enumerate(groups):
            members[group[2]] = number
        return Partition(
            kind=self.kind,
            names=tuple(group[0] for group in groups),
            notes=tuple(group[1] for group in groups),
            members=members,
            ordered=self.ordered,
        )

    def _joined(
        self, groups: list[tuple[str, str, NDArray[np.int64]]], place: int
    ) -> list[tuple[str, str, NDArray[np.int64]]]:
        """Group `place` together with another."""
        sizes = {i: len(group[2]) for i, group in enumerate(groups) if i != place}
        if self.ordered:
            sizes = {i: size for i, size in sizes.items() if abs(i - place) == 1}
        first, second = sorted((place, min(sizes, key=lambda i: (sizes[i], i))))
        one, other = groups[first], groups[second]
        name, note = _OTHERS, ""
        if self.ordered:
            name = f"{one[0]} or {other[0]}"
            note = "; ".join(part for part in (one[1], other[1]) if part)
        whole = (name, note, np.concatenate([one[2], other[2]]))
        if self.ordered:
            return [*groups[:first], whole, *groups[second + 1 :]]
        left = [group for i, group in enumerate(groups) if i not in (first, second)]
        return [*left, whole]


def by_activity(events: NDArray[np.integer]) -> Partition:
    """Users with few, some and many events: a third each, as far as equal counts allow.

    Args:
        events: (U,) length of each user's history.
    """
    low, high = np.quantile(events, [1 / 3, 2 / 3], method="lower") if len(events) else (0, 0)
    low, high = int(low), int(high)
    return Partition(
        kind=ACTIVITY,
        names=("few events", "some", "many"),
        notes=(f"up to {low}", f"{low + 1} to {high}", f"more than {high}"),
        members=(events > low).astype(np.int64) + (events > high),
        ordered=True,
    )


def by_popularity(targets: NDArray[np.integer], item_events: NDArray[np.integer]) -> Partition:
    """Users by the item that is held out: of the head, the middle or the tail.

    The head are the most met items that together make the first fifth of all events, the tail the
    least met ones that make the last fifth (Abdollahpouri et al., User-centered evaluation of
    popularity bias, UMAP 2021).  Items that were met as often are ranked by their row.

    Args:
        targets: (U,) rows.
        item_events: (V,) events of each item, the held-out ones not among them.
    """
    order = np.argsort(-item_events, kind="stable")
    share = np.cumsum(item_events[order]) / max(int(item_events.sum()), 1)
    before = np.concatenate([[0.0], share[:-1]])
    part = np.empty(len(item_events), np.int64)
    part[order] = np.where(before < HEAD - 1e-9, 0, np.where(before < 1 - TAIL - 1e-9, 1, 2))
    return Partition(
        kind=POPULARITY,
        names=("head", "middle", "tail"),
        notes=("the most met items", "", "the least met items"),
        members=part[targets],
        ordered=True,
    )


def by_category(
    targets: NDArray[np.integer], categories: Sequence[tuple[str, ...]]
) -> Partition | None:
    """Users by the outermost category that tells items apart; None in a catalogue without any.

    The largest groups keep their names, the rest are `others`, among them items without category.

    Args:
        targets: (U,) rows.
        categories: V paths, outermost first.
    """
    level = next(
        (
            depth
            for depth in range(max(map(len, categories), default=0))
            if len({path[depth] for path in categories if len(path) > depth}) > 1
        ),
        None,
    )
    if level is None:
        return None
    named = [path[level] if len(path) > level else "" for path in categories]
    found = [named[row] for row in targets.tolist()]
    counts = {name: found.count(name) for name in sorted(set(found)) if name}
    kept = sorted(counts, key=lambda name: (-counts[name], name))[:_CATEGORIES]
    number = {name: place for place, name in enumerate(kept)}
    return Partition(
        kind=CATEGORY,
        names=(*kept, _OTHERS),
        notes=("",) * (len(kept) + 1),
        members=np.array([number.get(name, len(kept)) for name in found], np.int64),
        ordered=False,
    )
