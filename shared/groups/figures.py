"""What each group gets: ranking quality, and how popular what is shown to it is.

Shapes: `U` users, `V` items, `K` items shown, `R` resamples.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.bootstrap import Interval, interval, resampled_means
from shared.groups.partition import (
    FEWEST,
    Partition,
    by_activity,
    by_category,
    by_popularity,
)

CUT = 10
NOTHING = -1
EVERYBODY = "everybody"


@dataclass(frozen=True, kw_only=True)
class Lists:
    """What a system did for U users.

    Args:
        ranks: (U,) 0-based rank of the held-out item; CUT or more where it was not found.
        top: (U, K) rows of the items shown, best first; `NOTHING` after the last.
    """

    ranks: NDArray[np.integer]
    top: NDArray[np.integer]


@dataclass(frozen=True, kw_only=True)
class People:
    """Whom it was done for.

    Args:
        histories: U arrays of rows, all that precedes the held-out item.
        targets: (U,) rows of the held-out items.
        item_users: (V,) how many of the platform's users have each item in their training events.
        users: how many users those were counted over.
        categories: V paths, outermost first.
    """

    histories: Sequence[NDArray[np.integer]]
    targets: NDArray[np.integer]
    item_users: NDArray[np.integer]
    users: int
    categories: Sequence[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One group's.

    Args:
        kind, name, note: of the group; kind `everybody` for all of them.
        users: how many.
        ndcg: mean NDCG@10 with its 95 % interval.
        before: likewise of the system that it is compared with.
        change: ndcg less before, on the same users.
        history_popularity: mean over users of the mean popularity of their own items, in [0, 1].
        shown_popularity: likewise of the items shown (average recommendation popularity).
        shown_before: likewise of the system that it is compared with.
    """

    kind: str
    name: str
    note: str
    users: int
    ndcg: Interval
    before: Interval
    change: Interval
    history_popularity: float
    shown_popularity: float
    shown_before: float

    @property
    def lift(self) -> float | None:
        """Popularity lift: how much more popular what is shown is than what the users had."""
        return lift(self.history_popularity, self.shown_popularity)

    @property
    def lift_before(self) -> float | None:
        """Likewise of the system that it is compared with."""
        return lift(self.history_popularity, self.shown_before)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How evenly what is shown is spread over the catalogue.

    Args:
        coverage: share of the items that are shown to anybody.
        gini: 0 where every item is shown as often, near 1 where few are shown to all.
    """

    coverage: float
    gini: float


def figures(
    people: People,
    before: Lists,
    now: Lists,
    rng: np.random.Generator,
    *,
    fewest: int = FEWEST,
) -> list[Figures]:
    """Everybody first, then every group of every cut; nothing for fewer than `fewest` users.

    Args:
        rng: draws the resamples.
    """
    if len(people.targets) < max(fewest, 1):
        return []
    lengths = np.array([len(history) for history in people.histories])
    parts = [by_activity(lengths), by_popularity(people.targets, people.item_users)]
    if (category := by_category(people.targets, people.categories)) is not None:
        parts.append(category)
    every = Partition(
        kind=EVERYBODY,
        names=(EVERYBODY,),
        notes=("",),
        members=np.zeros(len(lengths), np.int64),
        ordered=True,
    )
    quality = np.stack([ndcg(before.ranks), ndcg(now.ranks)], axis=1)
    popularity = people.item_users / max(people.users, 1)
    popular = np.stack(
        [
            mean_popularity(people.histories, popularity),
            mean_popularity([row[row != NOTHING] for row in before.top], popularity),
            mean_popularity([row[row != NOTHING] for row in now.top], popularity),
        ],
        axis=1,
    )
    return [
        _group(part, number, quality, popular, rng)
        for part in (every, *(part.merged(fewest) for part in parts))
        for number in range(len(part.names))
    ]


def _group(
    part: Partition,
    number: int,
    quality: NDArray[np.float64],
    popular: NDArray[np.float64],
    rng: np.random.Generator,
) -> Figures:
    rows = part.members == number
    means, drawn = quality[rows].mean(axis=0), resampled_means(quality[rows], rng)
    history, shown_before, shown = (
        float(column[~np.isnan(column)].mean()) if not np.isnan(column).all() else 0.0
        for column in popular[rows].T
    )
    return Figures(
        kind=part.kind,
        name=part.names[number],
        note=part.notes[number],
        users=int(rows.sum()),
        ndcg=interval(means[1], drawn[:, 1]),
        before=interval(means[0], drawn[:, 0]),
        change=interval(means[1] - means[0], drawn[:, 1] - drawn[:, 0]),
        history_popularity=history,
        shown_popularity=shown,
        shown_before=shown_before,
    )


def ndcg(ranks: NDArray[np.integer], k: int = CUT) -> NDArray[np.float64]:
    """(U,): 1 / log2(rank + 2) where rank < k, else 0; `shared.metrics.ndcg_at` without torch."""
    return np.where(ranks < k, 1 / np.log2(ranks.astype(np.float64) + 2), 0.0)


def mean_popularity(
    lists: Sequence[NDArray[np.integer]], popularity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(U,) mean popularity of each list's items; NaN for an empty list.

    Its mean over users is ARP, average recommendation popularity (Yin et al., VLDB 2012), and for
    a group's histories GAP, group average popularity (Abdollahpouri et al., The unfairness of
    popularity bias in recommendation, RMSE at RecSys 2019).
    """
    return np.array([popularity[one].mean() if len(one) else np.nan for one in lists])


def lift(history: float, shown: float) -> float | None:
    """(shown - history) / history, the delta GAP of Abdollahpouri et al. 2019; None without any."""
    return (shown - history) / history if history > 0 else None


def spread(top: NDArray[np.integer], items: int) -> Spread:
    """Coverage (Ge, Delgado-Battenfeld and Jannach, RecSys 2010) and Gini index of what is shown.

    The Gini index is over how often each of the catalogue's items is shown.

    Args:
        top: (U, K).
        items: V, at least 1.
    """
    times = np.sort(np.bincount(top[top != NOTHING].ravel(), minlength=items)).astype(np.float64)
    total = times.sum()
    places = 2 * np.arange(1, items + 1) - items - 1
    return Spread(
        coverage=float((times > 0).mean()),
        gini=float((places * times).sum() / (items * total)) if total else 0.0,
    )


def to_json(found: Sequence[Figures]) -> list[dict[str, Any]]:
    """Plain values, with the lifts."""
    return [{**asdict(one), "lift": one.lift, "lift_before": one.lift_before} for one in found]
