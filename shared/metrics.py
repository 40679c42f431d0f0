"""Ranking metrics of a full-catalogue protocol.

Shape legend: `B` users, `V` items, `E` (user, item) pairs that are left out.

Rules:
1. A rank is 0-based: the number of ranked items that are not strictly below the target.
2. Ties count against the system; so does a score that is not a number.
3. Items that are left out (already in the history) are not ranked at all: they can neither beat
   the target nor, if the target is one of them, be found (its rank is then `NOT_FOUND`, a miss at
   any k, however small the catalogue).
4. Metrics are per user; their mean is the caller's.  Metrics that need the whole score matrix
   (an area under a curve) can be computed from the same ranks and the number of ranked items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

NOT_FOUND = 2**31 - 1
"""The rank of an item that is not ranked; it fits int32."""


@dataclass(frozen=True)
class Excluded:
    """What is left out of a ranking, as distinct (user, item) pairs.

    Args:
        rows: (E,) int64, number of the user in the batch.
        columns: (E,) int64, item.
    """

    rows: torch.Tensor
    columns: torch.Tensor

    @classmethod
    def of(cls, items: Sequence[NDArray[np.int32]]) -> "Excluded":
        """Pack one array of items per user; an item that a user has twice is one pair."""
        sizes = [len(row) for row in items]
        rows = np.repeat(np.arange(len(items), dtype=np.int64), sizes)
        columns = np.concatenate([*items, np.zeros(0, np.int32)]).astype(np.int64)
        width = int(columns.max(initial=0)) + 1
        pairs = np.unique(rows * width + columns)
        return cls(torch.from_numpy(pairs // width), torch.from_numpy(pairs % width))


def ranks(
    scores: torch.Tensor,
    targets: torch.Tensor,
    exclude: Excluded | Sequence[NDArray[np.int32]],
) -> torch.Tensor:
    """Rank of each user's target among all items but the excluded ones.

    Args:
        scores: (B, V) floating point, higher is better; read, never written.
        targets: (B,) integer items.
        exclude: items left out, one array per user (any order, repeats allowed) or packed.

    Returns:
        (B,) int64, 0 is the best; `NOT_FOUND` where the target itself is excluded.

    The scores are neither sorted nor masked in a copy: all items are counted, then the excluded
    ones that were counted are taken off.  One (B, V) boolean is the only large temporary.
    """
    items = scores.shape[1]
    packed = exclude if isinstance(exclude, Excluded) else Excluded.of(exclude)
    targets = targets.to(torch.int64)
    wanted = scores.gather(1, targets[:, None])
    # "not below" rather than "at least": a comparison with NaN is false, and must not help
    # numpy's sum of booleans is 50 times faster than torch's along a dimension
    below = torch.from_numpy((scores < wanted).numpy().sum(axis=1, dtype=np.int64))
    ahead = items - 1 - below
    rivals = ~(scores[packed.rows, packed.columns] < wanted[packed.rows, 0])
    ahead.index_add_(0, packed.rows, rivals.to(torch.int64), alpha=-1)
    return ahead.index_fill_(0, packed.rows[packed.columns == targets[packed.rows]], NOT_FOUND)


def hit_at(ranks: torch.Tensor, k: int) -> torch.Tensor:
    """(B,) float64: 1 where the target is among the first `k`, else 0 (recall of one target)."""
    return (ranks < k).to(torch.float64)


def ndcg_at(ranks: torch.Tensor, k: int) -> torch.Tensor:
    """(B,) float64: 1 / log2(rank + 2) where rank < k, else 0.

    Normalised discounted cumulative gain with a single relevant item, whose ideal is 1
    (Järvelin and Kekäläinen, 2002).
    """
    return hit_at(ranks, k) / torch.log2(ranks.to(torch.float64) + 2)
