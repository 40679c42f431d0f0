"""For whom the served model is good: quality by group on the platform's own held-out events.

Everything here reads a snapshot's arrays.  "Frozen" is the same score, the local head and its
weights included, with the text model as it came in the place of the trained one.

A catalogue of a million items is gone through once for each of the two, and as many users are drawn
as that takes seconds for (`sample`).  The lists are `everyones.lists`.

Shapes: `U` users, `V` items.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.serving.everyones import lists, sample
from clients.serving.snapshot.snapshot import Snapshot
from shared.errors import RunError
from shared.events import Sequences
from shared.groups.figures import Figures, People, Spread, figures, spread


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What the preparation kept apart.

    Args:
        train: the users' training events, as the platform's folder has them.
        validation, test: (U,) rows; the event after those, and the one after that.
    """

    train: Sequences
    validation: NDArray[np.int32]
    test: NDArray[np.int32]

    @classmethod
    def read(cls, platform: Path) -> "HeldOut | None":
        """What lies in a platform's folder; None where nothing was kept apart.

        Raises:
            RunError: it is damaged, or of other users.
        """
        path = platform / "heldout.npz"
        if not path.is_file():
            return None
        try:
            train = Sequences.load(platform / "sequences.npz")
            with np.load(path, allow_pickle=False) as found:
                held = cls(train=train, validation=found["validation"], test=found["test"])
            if not len(held.validation) == len(held.test) == len(train):
                raise ValueError("users")
        except (OSError, ValueError, KeyError) as error:
            raise RunError(
                expected="one held-out event for each user",
                got=type(error).__name__,
                where=str(path),
                remedy="Prepare the platform anew.",
            ) from error
        return held


@dataclass(frozen=True, kw_only=True)
class Fairness:
    """What the page shows.

    Args:
        groups: everybody first; empty for too few users.
        model: the same for everybody with the shared model alone, without the local head.
        before, now: how evenly the lists are spread.
        users: how many were looked at, drawn at random where not all were.
        of: how many there are with held-out events.
    """

    groups: tuple[Figures, ...]
    model: tuple[Figures, ...]
    before: Spread
    now: Spread
    users: int
    of: int


def fairness(
    snapshot: Snapshot,
    held: HeldOut,
    allowed: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    without: frozenset[str] = frozenset(),
    most: int | None = None,
) -> Fairness:
    """Judge the served score and its frozen twin on the events that were held out.

    Args:
        allowed: (V,) items that may be shown; a held-out item that may not is a miss.
        rng: draws users, where there are more than `most`, and resamples.
        most: None is what `sample` says of so many items.
        without: pseudonyms of users who opted out.

    Raises:
        RunError: the held-out events are of another catalogue.
    """
    items = len(snapshot.catalogue)
    if max(held.validation.max(initial=0), held.test.max(initial=0)) >= items:
        raise RunError(
            expected=f"held-out events of {items} items", got="others", where="heldout.npz"
        )
    rows, of = sample(held.train.users, items, rng, without=without, most=most)
    histories = [np.append(held.train[int(row)], held.validation[row]) for row in rows]
    targets = held.test[rows].astype(np.int64)
    people = People(
        histories=histories,
        targets=targets,
        item_users=np.bincount(held.train.items, minlength=items),
        users=len(held.train),
        categories=snapshot.catalogue.categories,
    )
    found = {
        (frozen, head): one
        for frozen in (True, False)
        for head, one in lists(
            snapshot,
            snapshot.vectors if frozen else snapshot.items,
            histories,
            allowed,
            targets=targets,
            heads=(True, False),
        ).items()
    }
    return Fairness(
        groups=tuple(figures(people, found[True, True], found[False, True], rng)),
        model=tuple(figures(people, found[True, False], found[False, False], rng)[:1]),
        before=spread(found[True, True].top, items),
        now=spread(found[False, True].top, items),
        users=len(rows),
        of=of,
    )
