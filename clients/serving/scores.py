"""Scores for one history, from a snapshot's arrays: of the best items, or of given ones.

The score that the system `federated+tuned` is evaluated by: the cosine of the interest with the
adapted item, the head's co-occurrence, and its log-popularity, each with its weight.  Cosine and
popularity are the index's business (`clients.serving.snapshot.index`); co-occurrence is not zero
for a few items only, and never negative.  So the best items are among the index's best and those
few, and nothing is ever computed for the whole catalogue.

Shapes: `V` items, `D` width, `L` events of a history, oldest first, `N` rows asked for,
`C` rows with any co-occurrence, `H` histories.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.snapshot import Snapshot

_NONE: NDArray[np.int64] = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Scored:
    """Some items for one history; `total` is the sum of the other three.

    Args:
        rows: (N,) of the catalogue.
        shared, together, popular: (N,) float32.
    """

    rows: NDArray[np.int64]
    shared: NDArray[np.float32]
    together: NDArray[np.float32]
    popular: NDArray[np.float32]

    @property
    def total(self) -> NDArray[np.float32]:
        """(N,)."""
        return self.shared + self.popular + self.together

    def __getitem__(self, places: NDArray[np.integer]) -> "Scored":
        return Scored(
            self.rows[places], self.shared[places], self.together[places], self.popular[places]
        )


def recency(events: int, decay: float) -> NDArray[np.float32]:
    """(L,) weights, oldest first, that sum to 1: `decay ** k` for the event k steps back."""
    weights = decay ** np.arange(events - 1, -1, -1, dtype=np.float64)
    return (weights / max(weights.sum(), 1e-300)).astype(np.float32)


def interest(snapshot: Snapshot, history: NDArray[np.integer]) -> NDArray[np.float32]:
    """(D,) of unit length; zeros for an empty history."""
    weights = recency(len(history), snapshot.meta.decay)
    return _unit(weights @ snapshot.index.vectors(history))


def interests(
    histories: Sequence[NDArray[np.integer]],
    decay: float,
    vectors_of: Callable[[NDArray[np.integer]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """(H, D) what `interest` says of each; zeros where its items have no vectors.

    Args:
        histories: of one event at least; (sum of L, D) numbers are held at once.
        vectors_of: rows to their (N, D) vectors; asked for each row once.
    """
    sizes = np.array([len(rows) for rows in histories])
    met, columns = np.unique(np.concatenate(histories), return_inverse=True)
    parts = np.concatenate([recency(size, decay) for size in sizes.tolist()])
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    found = np.add.reduceat(vectors_of(met)[columns] * parts[:, None], firsts, axis=0)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(
        found, norms, out=np.zeros_like(found), where=norms > 1e-12
    )
    return unit


def together(
    snapshot: Snapshot, history: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(C,) rows, rising, and (C,) the head's co-occurrence in (0, 1]: see `LocalHead.knn`."""
    rows, values = _met(snapshot, history)
    found = recency(len(history), snapshot.meta.decay) @ values
    best = float(found.max(initial=0.0))
    return rows, found / np.float32(best) if best > 0 else found


def score(snapshot: Snapshot, history: NDArray[np.integer], rows: NDArray[np.integer]) -> Scored:
    """The given items; an empty history leaves popularity."""
    wanted, beside = interest(snapshot, history), together(snapshot, history)
    return _scored(snapshot, wanted, beside, np.asarray(rows, np.int64))


def ranked(
    snapshot: Snapshot,
    history: NDArray[np.integer],
    k: int,
    *,
    allowed: NDArray[np.bool_] | None = None,
    without: NDArray[np.integer] = _NONE,
) -> Scored:
    """The `k` items of the largest total that are allowed, best first, ties by row.

    As exact as the index: what co-occurrence adds costs nothing of that.

    Args:
        allowed, without: see `Index.search`.
    """
    index = snapshot.index
    wanted, beside = interest(snapshot, history), together(snapshot, history)
    rows, base = index.search(wanted, k, allowed=allowed, without=without)
    # Whoever is among the best without having been found reaches the k-th that was.
    least = float(base[-1]) if len(base) == k else -np.inf
    met, values = beside
    values = np.float32(snapshot.meta.knn) * values
    met, values = _kept(met, values, allowed, without)
    more = met[index.reaching(wanted, met, values, least)]
    found = _scored(snapshot, wanted, beside, np.union1d(rows, more))
    return found[np.lexsort((found.rows, -found.total))[:k]]


def left_out(snapshot: Snapshot, history: NDArray[np.integer], row: int) -> NDArray[np.float32]:
    """(L + 1,) the total of `row` for the history, and for it without each of its events in turn.

    Args:
        history: of one event at least.
    """
    events, decay = len(history), snapshot.meta.decay
    weights = np.zeros((events + 1, events), np.float32)
    weights[0] = recency(events, decay)
    fewer = np.append(recency(events - 1, decay), np.float32(0))
    place = np.arange(events)
    # an event keeps its weight, or takes that of the one before it where that is gone
    weights[1:] = fewer[place - (place > place[:, None])]
    np.fill_diagonal(weights[1:], 0.0)
    interests = weights @ snapshot.index.vectors(history)
    interests /= np.maximum(np.linalg.norm(interests, axis=1, keepdims=True), 1e-12)
    cosines = interests @ snapshot.index.vectors(np.array([row]))[0]
    rows, values = _met(snapshot, history)
    found = weights @ values  # (L + 1, C)
    best = found.max(axis=1, initial=0.0)
    column = int(np.searchsorted(rows, row))
    is_met = column < len(rows) and rows[column] == row
    own = found[:, column] if is_met else np.zeros_like(best)
    beside = np.divide(own, best, out=np.zeros_like(best), where=best > 0)
    total: NDArray[np.float32] = (
        cosines + snapshot.bias[row] + np.float32(snapshot.meta.knn) * beside
    )
    return total


def diverse(
    totals: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    diversity: float,
) -> NDArray[np.int64]:
    """Places of `k` of the candidates by maximal marginal relevance (Carbonell and Goldstein 1998).

    The next one has the largest (1 - diversity) * score - diversity * (largest cosine with one that
    is chosen already); scores are brought to [0, 1] over the candidates first.

    Args:
        totals: (N,) the candidates' scores, best first.
        vectors: (N, D) of unit length.
    """
    spread = float(totals.max() - totals.min()) if len(totals) else 0.0
    worth = (totals - totals.min()) / spread if spread > 0 else np.ones_like(totals)
    alike = np.full(len(totals), -np.inf, np.float32)
    chosen: list[int] = []
    left = np.ones(len(totals), bool)
    while len(chosen) < min(k, len(totals)):
        near = np.where(np.isfinite(alike), alike, 0.0)
        value = np.where(left, (1 - diversity) * worth - diversity * near, -np.inf)
        place = int(np.argmax(value))
        chosen.append(place)
        left[place] = False
        alike = np.maximum(alike, vectors @ vectors[place])
    return np.array(chosen, np.int64)


def _scored(
    snapshot: Snapshot,
    wanted: NDArray[np.float32],
    beside: tuple[NDArray[np.int64], NDArray[np.float32]],
    rows: NDArray[np.int64],
) -> Scored:
    met, values = beside
    own = np.zeros(len(rows), np.float32)
    if len(met):
        places = np.minimum(np.searchsorted(met, rows), len(met) - 1)
        own = np.where(met[places] == rows, values[places], np.float32(0))
    return Scored(
        rows,
        snapshot.index.scores(wanted, rows, biased=False),
        np.float32(snapshot.meta.knn) * own,
        snapshot.bias[rows],
    )


def _met(
    snapshot: Snapshot, history: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(C,) rows that anything of the history co-occurs with, rising, and (L, C) how much."""
    data, indices, indptr = snapshot.together
    spans = [
        # of an item that is new nothing is known: nobody has had it beside another
        slice(int(indptr[row]), int(indptr[row + 1])) if row >= 0 else slice(0, 0)
        for row in snapshot.homes(history).tolist()
    ]
    columns = np.concatenate([indices[span] for span in spans] or [_NONE.astype(np.int32)])
    rows, places = np.unique(snapshot.current(columns), return_inverse=True)
    values = np.zeros((len(spans), len(rows)), np.float32)
    sizes = [span.stop - span.start for span in spans]
    owners = np.repeat(np.arange(len(spans)), sizes)
    # an index is in a row once
    values[owners, places] = np.concatenate(
        [data[span] for span in spans] or [np.zeros(0, np.float32)]
    )
    return rows, values


def _kept(
    rows: NDArray[np.int64],
    values: NDArray[np.float32],
    allowed: NDArray[np.bool_] | None,
    without: NDArray[np.integer],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    kept = np.ones(len(rows), bool) if allowed is None else allowed[rows]
    if len(without):
        kept = kept & ~np.isin(rows, without)
    return rows[kept], values[kept]


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    norm = float(np.linalg.norm(vector))
    return vector / np.float32(norm) if norm > 1e-12 else np.zeros_like(vector)
