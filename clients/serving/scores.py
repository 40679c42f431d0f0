"""Scores of a whole catalogue for one history, from a snapshot's arrays.

The score that the system `federated+tuned` is evaluated by: the cosine of the interest with the
adapted item, the head's co-occurrence, and its log-popularity, each with its weight.

Shapes: `V` items, `D` width, `L` events of a history, oldest first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.serving.snapshot.snapshot import Snapshot


@dataclass(frozen=True)
class Scored:
    """All items for one history; `total` is the sum of the other three.

    Args:
        shared, together, popular: (V,) float32.
    """

    shared: NDArray[np.float32]
    together: NDArray[np.float32]
    popular: NDArray[np.float32]

    @property
    def total(self) -> NDArray[np.float32]:
        """(V,)."""
        return self.shared + self.together + self.popular


def recency(events: int, decay: float) -> NDArray[np.float32]:
    """(L,) weights, oldest first, that sum to 1: `decay ** k` for the event k steps back."""
    weights = decay ** np.arange(events - 1, -1, -1, dtype=np.float64)
    return (weights / max(weights.sum(), 1e-300)).astype(np.float32)


def interest(snapshot: Snapshot, history: NDArray[np.integer]) -> NDArray[np.float32]:
    """(D,) of unit length; zeros for an empty history."""
    weights = recency(len(history), snapshot.meta.decay)
    mean: NDArray[np.float32] = weights @ snapshot.items[history]
    norm = float(np.linalg.norm(mean))
    return mean / np.float32(norm) if norm > 1e-12 else np.zeros_like(mean)


def together(snapshot: Snapshot, history: NDArray[np.integer]) -> NDArray[np.float32]:
    """(V,) the head's co-occurrence in [0, 1]: the best item's is 1, see `LocalHead.knn`."""
    data, indices, indptr = snapshot.together
    weights = recency(len(history), snapshot.meta.decay)
    found = np.zeros(len(indptr) - 1, np.float32)
    for row, weight in zip(snapshot.homes(history).tolist(), weights, strict=True):
        if row < 0:  # new: nobody has had it beside another
            continue
        part = slice(int(indptr[row]), int(indptr[row + 1]))
        found[indices[part]] += weight * data[part]  # an index is in a row once
    best = float(found.max(initial=0.0))
    return snapshot.widened(found / np.float32(best) if best > 0 else found)


def score(snapshot: Snapshot, history: NDArray[np.integer]) -> Scored:
    """All items; an empty history leaves popularity."""
    meta = snapshot.meta
    return Scored(
        shared=snapshot.items @ interest(snapshot, history),
        together=np.float32(meta.knn) * together(snapshot, history),
        popular=np.float32(meta.popularity) * snapshot.popularity,
    )


def best(
    total: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """The `k` rows of the largest totals that are allowed, best first, ties by row."""
    rows = np.arange(len(total)) if allowed is None else np.flatnonzero(allowed)
    values = total[rows]
    if k < len(rows):
        # all that reach the k-th value, so that ties are broken by row and not by chance
        least = np.partition(values, len(values) - k)[len(values) - k]
        reached = values >= least
        rows, values = rows[reached], values[reached]
    return rows[np.lexsort((rows, -values))][:k]


def diverse(
    rows: NDArray[np.int64],
    totals: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    diversity: float,
) -> NDArray[np.int64]:
    """`k` of the candidates by maximal marginal relevance (Carbonell and Goldstein 1998).

    The next one has the largest (1 - diversity) * score - diversity * (largest cosine with one that
    is chosen already); scores are brought to [0, 1] over the candidates first.

    Args:
        rows, totals: candidates and their scores, best first.
        vectors: (candidates, D) of unit length.
    """
    spread = float(totals.max() - totals.min()) if len(totals) else 0.0
    worth = (totals - totals.min()) / spread if spread > 0 else np.ones_like(totals)
    alike = np.full(len(rows), -np.inf, np.float32)
    chosen: list[int] = []
    left = np.ones(len(rows), bool)
    while len(chosen) < min(k, len(rows)):
        near = np.where(np.isfinite(alike), alike, 0.0)
        value = np.where(left, (1 - diversity) * worth - diversity * near, -np.inf)
        place = int(np.argmax(value))
        chosen.append(place)
        left[place] = False
        alike = np.maximum(alike, vectors @ vectors[place])
    return rows[chosen]
