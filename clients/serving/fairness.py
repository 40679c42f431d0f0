"""For whom the served model is good: quality by group on the platform's own held-out events.

Everything here reads a snapshot's arrays.  "Frozen" is the same score, the local head and its
weights included, with the text model as it came in the place of the trained one.

Shapes: `B` users of a batch, `U` users, `V` items, `D` width, `K` items shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from clients.serving.scores import recency
from clients.serving.snapshot.snapshot import Snapshot
from shared.errors import RunError
from shared.events import Sequences
from shared.groups.figures import CUT, NOTHING, Figures, Lists, People, Spread, figures, spread

MOST_USERS = 3000
_AT_ONCE = 256
_ITEMS_AT_ONCE = 20_000
NOT_FOUND = 2**31 - 1


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
        users: how many were looked at.
    """

    groups: tuple[Figures, ...]
    model: tuple[Figures, ...]
    before: Spread
    now: Spread
    users: int


def fairness(
    snapshot: Snapshot,
    held: HeldOut,
    allowed: NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    without: frozenset[str] = frozenset(),
    most: int = MOST_USERS,
) -> Fairness:
    """Judge the served score and its frozen twin on the events that were held out.

    Args:
        allowed: (V,) items that may be shown; a held-out item that may not is a miss.
        rng: draws users, where there are more than `most`, and resamples.
        without: pseudonyms of users who opted out.

    Raises:
        RunError: the held-out events are of another catalogue.
    """
    items = len(snapshot.catalogue)
    if max(held.validation.max(initial=0), held.test.max(initial=0)) >= items:
        raise RunError(
            expected=f"held-out events of {items} items", got="others", where="heldout.npz"
        )
    able = np.array([n for n, user in enumerate(held.train.users) if user not in without], np.int64)
    rows = np.sort(rng.permutation(able)[:most])
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
        (frozen, head): lists(
            snapshot,
            snapshot.vectors if frozen else snapshot.items,
            histories,
            allowed,
            targets=targets,
            head=head,
        )
        for frozen in (True, False)
        for head in (True, False)
    }
    return Fairness(
        groups=tuple(figures(people, found[True, True], found[False, True], rng)),
        model=tuple(figures(people, found[True, False], found[False, False], rng)[:1]),
        before=spread(found[True, True].top, items),
        now=spread(found[False, True].top, items),
        users=len(rows),
    )


def lists(
    snapshot: Snapshot,
    items: NDArray[np.floating],
    histories: Sequence[NDArray[np.integer]],
    allowed: NDArray[np.bool_],
    *,
    targets: NDArray[np.int64] | None = None,
    head: bool = True,
) -> Lists:
    """What is shown for each history, and where the targets come (`shared.metrics` has the rules).

    Args:
        items: (V, D) of unit length, adapted or frozen.
        histories: whole; the model reads the end of each, and none of it is shown again.
        allowed: (V,) items that may be shown.
        targets: (U,); without any every rank is `NOT_FOUND`.
        head: with the local head, as served.
    """
    ranks = np.full(len(histories), NOT_FOUND, np.int64)
    top = np.full((len(histories), CUT), NOTHING, np.int64)
    for start in range(0, len(histories), _AT_ONCE):
        whole = histories[start : start + _AT_ONCE]
        scores = _scores(snapshot, items, whole, head=head)
        scores[:, ~allowed] = -np.inf
        for row, history in enumerate(whole):
            scores[row, history] = -np.inf
        shown = min(CUT, scores.shape[1])
        best = np.argpartition(-scores, shown - 1, axis=1)[:, :shown]
        worth = np.take_along_axis(scores, best, axis=1)
        order = np.lexsort((best, -worth), axis=1)
        best = np.take_along_axis(best, order, axis=1)
        worth = np.take_along_axis(worth, order, axis=1)
        stop = start + len(whole)
        top[start:stop, :shown] = np.where(np.isfinite(worth), best, NOTHING)
        if targets is not None:
            wanted = np.take_along_axis(scores, targets[start:stop, None], axis=1)
            # "not below" rather than "at least": ties, and what is no number, count against it
            ahead = (np.isfinite(scores) & ~(scores < wanted)).sum(axis=1) - 1
            ranks[start:stop] = np.where(np.isfinite(wanted[:, 0]), ahead, NOT_FOUND)
    return Lists(ranks=ranks, top=top)


def _scores(
    snapshot: Snapshot,
    items: NDArray[np.floating],
    histories: Sequence[NDArray[np.integer]],
    *,
    head: bool,
) -> NDArray[np.float32]:
    """(B, V); `clients.serving.scores.score` for many histories at once."""
    meta, size = snapshot.meta, len(snapshot.popularity)
    read = [history[-meta.history_length :] for history in histories]
    sizes = np.array([len(one) for one in read])
    weights = sparse.csr_array(
        (
            np.concatenate([recency(len(one), meta.decay) for one in read]),
            np.concatenate(read),
            np.concatenate([[0], np.cumsum(sizes)]),
        ),
        shape=(len(read), size),
    )
    met = np.unique(np.concatenate(read))
    interests = weights[:, met] @ items[met].astype(np.float32)
    norms = np.linalg.norm(interests, axis=1, keepdims=True)
    interests = np.divide(interests, norms, out=np.zeros_like(interests), where=norms > 1e-12)
    scores = np.empty((len(read), size), np.float32)
    for start in range(0, size, _ITEMS_AT_ONCE):
        some = slice(start, start + _ITEMS_AT_ONCE)
        scores[:, some] = interests @ items[some].astype(np.float32).T
    if head:
        data, indices, indptr = snapshot.together
        together = (weights @ sparse.csr_array((data, indices, indptr), (size, size))).toarray()
        best = together.max(axis=1, keepdims=True)
        together /= np.where(best > 0, best, 1)
        scores += np.float32(meta.knn) * together
        scores += np.float32(meta.popularity) * snapshot.popularity
    return scores
