"""How much the local head counts, chosen by the platform on its own events.

The last training event of each user is held out, the head is fitted on the rest, and the weights
are those under which the held-out events rank best.  Both the head and this choice are made from
raw private events: neither ever leaves the platform, and neither feeds back into training.

Shapes: B users, V items.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from clients.recommending.head import LocalHead, Mixing
from shared.events import Sequences
from shared.metrics import Excluded, ndcg_at, ranks

KNN = (0.2, 0.3, 0.45, 0.6, 0.8, 1.1, 1.5)
POPULARITY = (0.0, 0.01, 0.02, 0.03, 0.045, 0.06, 0.08, 0.12)
_CUT = 10
_BATCH = 256


class Scorer(Protocol):
    """What the head is added to."""

    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) float32, higher is better."""
        ...


def tuned(
    head: LocalHead,
    scorer: Scorer,
    train: Sequences,
    *,
    users: int = 2000,
    history_length: int = 50,
    seed: int = 0,
) -> LocalHead:
    """`head` with the mixing weights that rank the platform's own last events best.

    Args:
        head: fitted on all of `train`.
        scorer: the model that is served; it must not have seen which events are held out here
            other than in its (private) training.
        users: at most so many are looked at, drawn with `seed`.
        history_length: most recent events that are read.

    Returns:
        The same head, or one with other weights.  Unchanged where nobody has two events.
    """
    lengths = train.lengths
    able = np.flatnonzero(lengths > 1)
    if not len(able):
        return head
    drawn = np.random.default_rng(seed).permutation(able)[:users]
    before = LocalHead.fit(without_last(train), len(head.popularity), decay=head.decay)
    totals = np.zeros((len(KNN), len(POPULARITY)))
    for start in range(0, len(drawn), _BATCH):
        rows = drawn[start : start + _BATCH]
        histories = [train[int(row)][:-1] for row in rows]
        targets = torch.tensor([int(train[int(row)][-1]) for row in rows])
        totals += _quality(before, scorer, histories, targets, history_length)
    best = np.unravel_index(int(totals.argmax()), totals.shape)
    mixing = Mixing(knn=KNN[int(best[0])], popularity=POPULARITY[int(best[1])])
    return replace(head, mixing=mixing)


@torch.inference_mode()
def _quality(
    head: LocalHead,
    scorer: Scorer,
    histories: Sequence[NDArray[np.int32]],
    targets: torch.Tensor,
    history_length: int,
) -> NDArray[np.float64]:
    """(KNN, POPULARITY) sums of NDCG@10 over some users."""
    left_out = Excluded.of(histories)
    read = [history[-history_length:] for history in histories]
    shared, knn = scorer.scores(read), head.knn(read)
    popularity = torch.from_numpy(head.popularity)
    found = np.empty((len(KNN), len(POPULARITY)))
    for row, weight in enumerate(KNN):
        mixed = torch.add(shared, knn, alpha=weight)
        for column, more in enumerate(POPULARITY):
            scores = torch.add(mixed, popularity, alpha=more)
            found[row, column] = float(ndcg_at(ranks(scores, targets, left_out), _CUT).sum())
    return found


def without_last(train: Sequences) -> Sequences:
    """Each user's events but the last; a user of one event keeps none."""
    sizes = np.maximum(train.lengths - 1, 0)
    kept = np.ones(len(train.items), bool)
    kept[train.offsets[1:][train.lengths > 0] - 1] = False
    return Sequences(
        users=train.users,
        items=train.items[kept],
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
    )
