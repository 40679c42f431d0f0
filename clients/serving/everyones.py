"""What many users are shown at once, for figures: all items are scored for each of them.

The catalogue is gone through in blocks, so that nothing grows with users times items.

Shapes: `B` users of a batch, `U` users, `V` items, `C` of a block, `D` width, `K` items shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from clients.serving.scores import interests, recency
from clients.serving.snapshot.snapshot import Snapshot
from shared.groups.figures import CUT, NOTHING, Lists

MOST_USERS = 2_000
FEWEST_USERS = 100
MOST_SCORES = 1e8
"""Users times items that are scored in one pass: two passes are about 5 seconds of one core."""
NOT_FOUND = 2**31 - 1
_AT_ONCE = 256
_ITEMS_AT_ONCE = 20_000
_TIE = np.float32(1e-6)  # sums in another order differ by less; what is that near counts as equal


def sample(
    users: Sequence[str],
    items: int,
    rng: np.random.Generator,
    *,
    without: frozenset[str] = frozenset(),
    most: int | None = None,
) -> tuple[NDArray[np.int64], int]:
    """(numbers of users, rising; how many they were drawn from): as many as can be looked at.

    Args:
        without: users who are not there.
        most: at most so many; None is `most_users`.
    """
    able = np.array([n for n, user in enumerate(users) if user not in without], np.int64)
    count = most_users(items) if most is None else most
    return np.sort(rng.permutation(able)[:count]), len(able)


def most_users(items: int) -> int:
    """How many users are scored against so many items within the time of a page."""
    return int(min(MOST_USERS, max(FEWEST_USERS, MOST_SCORES // max(items, 1))))


def lists(
    snapshot: Snapshot,
    items: NDArray[np.floating],
    histories: Sequence[NDArray[np.integer]],
    allowed: NDArray[np.bool_],
    *,
    targets: NDArray[np.int64] | None = None,
    heads: tuple[bool, ...] = (True,),
) -> dict[bool, Lists]:
    """What is shown for each history, and where the targets come (`shared.metrics` has the rules);
    with the local head, as served, and without it.

    Args:
        items: (V, D) of unit length, adapted or frozen.
        histories: of one event at least; the model reads the end of each, and none of it is shown
            again.
        allowed: (V,) items that may be shown.
        targets: (U,); without any every rank is `NOT_FOUND`.
        heads: which of the two.
    """
    parts: dict[bool, list[_Best]] = {head: [] for head in heads}
    for start in range(0, len(histories), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        wanted = None if targets is None else targets[some]
        for head, best in _batch(snapshot, items, histories[some], allowed, wanted, heads).items():
            parts[head].append(best)
    none = np.zeros((0, CUT), np.int64)
    return {
        head: Lists(
            ranks=np.concatenate([none[:, 0], *(one.ranks() for one in found)]),
            top=np.concatenate([none, *(one.rows for one in found)]),
        )
        for head, found in parts.items()
    }


@dataclass
class _Best:
    """The best of the blocks so far.

    Args:
        wanted: (B,) the targets' scores; NaN where there is none, or none that may be shown.
        rows, scores: (B, K), best first, ties by row; `NOTHING` and minus infinity after the last.
        ahead: (B,) items that do as well as the target, or better.
    """

    wanted: NDArray[np.float32]
    rows: NDArray[np.int64] = field(init=False)
    scores: NDArray[np.float32] = field(init=False)
    ahead: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        users = len(self.wanted)
        self.rows = np.full((users, CUT), NOTHING, np.int64)
        self.scores = np.full((users, CUT), -np.inf, np.float32)
        self.ahead = np.zeros(users, np.int64)

    def add(self, first: int, scores: NDArray[np.float32]) -> None:
        """Look at a block.

        Args:
            first: row of its first item.
            scores: (B, C); minus infinity for what may not be shown.
        """
        if not np.isnan(self.wanted).all():
            # "not below" rather than "at least": ties, and what is no number, count against it
            self.ahead += (~(scores < (self.wanted - _TIE)[:, None])).sum(axis=1)
        least = self.scores[:, -1:]
        if np.isneginf(least).any() and scores.shape[1] > CUT:  # else nearly all would be sorted
            least = np.maximum(least, -np.partition(-scores, CUT - 1, axis=1)[:, CUT - 1 : CUT])
        users, columns = np.nonzero((scores >= least) & (scores > -np.inf))
        if not len(users):
            return
        owners = np.concatenate([users, np.repeat(np.arange(len(self.rows)), CUT)])
        rows = np.concatenate([columns + first, self.rows.ravel()])
        values = np.concatenate([scores[users, columns], self.scores.ravel()])
        order = np.lexsort((rows, -values, owners))
        sizes = np.bincount(owners, minlength=len(self.rows))
        starts = np.cumsum(sizes) - sizes
        kept = order[starts[:, None] + np.arange(CUT)]
        self.rows, self.scores = rows[kept], values[kept]

    def ranks(self) -> NDArray[np.int64]:
        """(B,) 0-based."""
        return np.where(np.isnan(self.wanted), NOT_FOUND, self.ahead)


def _batch(
    snapshot: Snapshot,
    items: NDArray[np.floating],
    histories: Sequence[NDArray[np.integer]],
    allowed: NDArray[np.bool_],
    targets: NDArray[np.int64] | None,
    heads: tuple[bool, ...],
) -> dict[bool, _Best]:
    meta, size = snapshot.meta, len(snapshot.popularity)
    read = [history[-meta.history_length :] for history in histories]
    weights = _weights(read, size, meta.decay)
    own = interests(read, meta.decay, lambda rows: items[rows].astype(np.float32))
    met = (_together(snapshot, weights) * np.float32(meta.knn)).tocsc()
    seen = _cells([np.asarray(one) for one in histories], size)
    bias = np.float32(meta.popularity) * snapshot.popularity
    found = {}
    for head in heads:
        wanted = np.full(len(read), np.nan, np.float32)
        if targets is not None:
            wanted = np.einsum("bd,bd->b", own, items[targets].astype(np.float32))
            if head:
                wanted += bias[targets] + met[np.arange(len(read)), targets]
            known = [target in one for target, one in zip(targets, histories, strict=True)]
            wanted[~allowed[targets] | np.array(known)] = np.nan
        found[head] = _Best(wanted)
    itself = None if targets is None else _cells(list(targets[:, None]), size)
    for first in range(0, size, _ITEMS_AT_ONCE):
        some = slice(first, min(first + _ITEMS_AT_ONCE, size))
        plain = own @ items[some].astype(np.float32).T
        plain[:, ~allowed[some]] = -np.inf
        plain[_at(seen, some)] = -np.inf
        for head, best in found.items():
            scores = plain
            if head:
                scores = plain + bias[some]
                block = met[:, some].tocoo()
                scores[block.row, block.col] += block.data
            best.add(first, scores)
            if itself is not None:  # it does not stand ahead of itself
                users, _ = at = _at(itself, some)
                best.ahead[users] -= ~(scores[at] < best.wanted[users] - _TIE)
    return found


def _weights(
    read: Sequence[NDArray[np.integer]], size: int, decay: float
) -> "sparse.csr_array[np.float32]":
    """(B, V) how much each event counts."""
    return sparse.csr_array(
        (
            np.concatenate([recency(len(one), decay) for one in read]),
            np.concatenate(read),
            np.concatenate([[0], np.cumsum([len(one) for one in read])]),
        ),
        shape=(len(read), size),
    )


def _together(
    snapshot: Snapshot, weights: "sparse.csr_array[np.float32]"
) -> "sparse.csr_array[np.float32]":
    """(B, V) co-occurrence with each history, its largest 1: see `LocalHead.knn`."""
    size = len(snapshot.popularity)
    found = sparse.csr_array(weights @ sparse.csr_array(snapshot.together, (size, size)))
    best = found.max(axis=1).toarray().ravel()
    return sparse.csr_array(sparse.diags_array(1 / np.where(best > 0, best, 1)) @ found)


def _cells(columns: Sequence[NDArray[np.integer]], size: int) -> "sparse.csc_array[np.bool_]":
    """(B, V) true in these columns of each row."""
    sizes = [len(one) for one in columns]
    return sparse.csr_array(
        (
            np.ones(sum(sizes), bool),
            np.concatenate(columns),
            np.concatenate([[0], np.cumsum(sizes)]),
        ),
        shape=(len(columns), size),
    ).tocsc()


def _at(
    cells: "sparse.csc_array[np.bool_]", some: slice
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Rows and columns, within a block, of its cells."""
    block = cells[:, some].tocoo()
    return block.row, block.col
