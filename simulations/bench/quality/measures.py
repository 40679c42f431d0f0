"""Figures of a system on a platform, from its `Outcome`.

Shape legend: `U` users, `V` items, `D` width, `N` training events, `K` = 10 items shown.
`r` is a user's 0-based rank, `n` the number of items that were ranked for that user.

One item is held out per user, so recall@10 is hit@10, and precision@10 and F1@10 are multiples of
it; they are here because people look for them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clients.splits import Split
from shared.errors import DataError
from shared.metrics import hit_at, ndcg_at
from simulations.bench.quality.outcome import NOTHING, Outcome
from simulations.evaluation import CUT, Which

Figures = NDArray[np.float64]

NDCG, HIT, COVERAGE = f"ndcg@{CUT}", f"hit@{CUT}", f"coverage@{CUT}"
PER_USER = (
    NDCG,
    HIT,
    f"precision@{CUT}",
    f"f1@{CUT}",
    "mrr",
    "auc",
    f"diversity@{CUT}",
    f"novelty@{CUT}",
)
COLD_USERS, UNSEEN_ITEMS = "cold_users", "unseen_items"
GROUPS = (COLD_USERS, UNSEEN_ITEMS)
COLD_EVENTS = 3

_USERS_AT_ONCE = 2048  # their lists' vectors are gathered together


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the figures need to know of a platform besides the outcome.

    Args:
        targets: (U,) int32, the held-out items.
        history_events: (U,) int64, training events of each user.
        item_events: (V,) int64, training events of each item.
        vectors: (V, D) float32 catalogue vectors, of any length; for the diversity of a list.
    """

    targets: NDArray[np.int32]
    history_events: NDArray[np.int64]
    item_events: NDArray[np.int64]
    vectors: NDArray[np.float32]

    @classmethod
    def of(cls, split: Split, which: Which, vectors: NDArray[np.float32]) -> "Facts":
        """Collect them from a platform's split."""
        return cls(
            targets=split.targets(which),
            history_events=split.train.lengths,
            item_events=np.bincount(split.train.items, minlength=len(vectors)),
            vectors=vectors,
        )

    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """Who is looked at separately: group -> (U,) membership.

        `cold_users` have at most `COLD_EVENTS` training events; the target of `unseen_items`
        occurs in nobody's training events.
        """
        return {
            COLD_USERS: self.history_events <= COLD_EVENTS,
            UNSEEN_ITEMS: self.item_events[self.targets] == 0,
        }


def per_user(outcome: Outcome, facts: Facts) -> dict[str, Figures]:
    """Every measure that belongs to a user, by the names of `PER_USER`: (U,) float64 each.

    Raises:
        DataError: outcome and facts are of different platforms.
    """
    if (len(outcome), outcome.items) != (len(facts.targets), len(facts.vectors)):
        raise DataError(
            expected=f"{len(facts.targets)} users and {len(facts.vectors)} items",
            got=f"{len(outcome)} users and {outcome.items} items",
            where="outcome",
            remedy="Give the facts of the platform and split it was observed on.",
        )
    figures = (
        ndcg(outcome),
        hit(outcome),
        precision(outcome),
        f1(outcome),
        reciprocal_rank(outcome),
        auc(outcome),
        diversity(outcome, facts.vectors),
        novelty(outcome, facts.item_events),
    )
    return dict(zip(PER_USER, figures, strict=True))


def ndcg(outcome: Outcome) -> Figures:
    """NDCG@10: 1 / log2(r + 2) where r < 10, else 0; in [0, 1] (Järvelin and Kekäläinen, 2002)."""
    return ndcg_at(torch.from_numpy(outcome.ranks), CUT).numpy() * outcome.found


def hit(outcome: Outcome) -> Figures:
    """HR@10: 1 where r < 10, else 0.  With one target this is recall@10."""
    # in a catalogue of fewer than ten items a rank of V is below ten, and yet a miss
    return hit_at(torch.from_numpy(outcome.ranks), CUT).numpy() * outcome.found


def precision(outcome: Outcome) -> Figures:
    """Precision@10: hit / 10; in [0, 0.1], since one of ten items shown can be right."""
    return hit(outcome) / CUT


def f1(outcome: Outcome) -> Figures:
    """F1@10: 2 P R / (P + R) of precision P = hit / 10 and recall R = hit: in [0, 2/11].

    Van Rijsbergen, Information Retrieval, 1979, with equal weights.
    """
    return hit(outcome) * (2 / (CUT + 1))


def reciprocal_rank(outcome: Outcome) -> Figures:
    """1 / (r + 1), 0 where the item cannot be found; in [0, 1].

    Its mean is MRR (Voorhees, TREC-8, 1999), over the whole catalogue.
    """
    return np.where(outcome.found, 1 / (outcome.ranks.astype(np.float64) + 1), 0.0)


def auc(outcome: Outcome) -> Figures:
    """Area under the ROC curve: (n - 1 - r) / (n - 1), the share of rivals below the target.

    In [0, 1]; 0 where the item cannot be found, 1/2 where it has no rival.  A tie counts 0, not
    1/2 as in Hanley and McNeil (1982), for ties count against the system throughout.
    """
    rivals = outcome.ranked.astype(np.float64) - 1
    area = np.where(rivals > 0, (rivals - outcome.ranks) / np.maximum(rivals, 1), 0.5)
    return np.where(outcome.found, area, 0.0)


def diversity(outcome: Outcome, vectors: NDArray[np.float32]) -> Figures:
    """Intra-list diversity: mean of 1 - cosine over the pairs of items shown.

    In [0, 2], about 1 for unrelated items; 0 for a list of fewer than two.  A vector of zeros is
    unrelated to everything.  Ziegler et al., WWW 2005 (there as a sum of similarities).
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)
    unit = np.concatenate([unit, np.zeros_like(unit[:1])])  # row NOTHING is the last one
    squared = np.einsum("vd,vd->v", unit, unit, dtype=np.float64)
    found = np.zeros(len(outcome))
    for start in range(0, len(outcome), _USERS_AT_ONCE):
        shown = outcome.top[start : start + _USERS_AT_ONCE]
        # |sum of v|^2 is the sum over all ordered pairs, an item with itself among them
        total = unit[shown].sum(axis=1, dtype=np.float64)
        together = np.einsum("ud,ud->u", total, total) - squared[shown].sum(axis=1)
        pairs = _shown(shown) * (_shown(shown) - 1)
        found[start : start + len(shown)] = np.where(
            pairs > 0, 1 - together / np.maximum(pairs, 1), 0.0
        )
    return np.maximum(found, 0.0)  # rounding of a list of equal vectors


def novelty(outcome: Outcome, item_events: NDArray[np.int64]) -> Figures:
    """Mean self-information of the items shown: -log2((events of the item + 1) / (N + V)), bits.

    In (0, log2(N + V)]; 0 for an empty list.  Zhou et al., PNAS 2010, with add-one smoothing over
    the catalogue, so that an item that nobody has met is finite.
    """
    share = (item_events + 1.0) / (item_events.sum() + len(item_events))
    bits = np.append(-np.log2(share), 0.0)  # row NOTHING is the last one
    return bits[outcome.top].sum(axis=1) / np.maximum(_shown(outcome.top), 1)


def coverage(outcome: Outcome) -> float:
    """Catalogue coverage: share of the V items that are shown to anybody; in [0, 1].

    Ge, Delgado-Battenfeld and Jannach, RecSys 2010.  It belongs to no user, and users drawn with
    replacement always show fewer items, so it has no bootstrap interval.
    """
    shown = np.unique(outcome.top)
    return float((shown != NOTHING).sum() / outcome.items)


def _shown(top: NDArray[np.int32]) -> NDArray[np.int64]:
    """(U,) items in each list."""
    return (top != NOTHING).sum(axis=1)
