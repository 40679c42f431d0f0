"""Frozen: whitened item vectors and a recency-weighted history, nothing learned.

Shape legend: `B` users, `L` longest history of the batch, `D` width, `V` items.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from shared.events import Sequences
from shared.model import padded, recency_weights


@dataclass(frozen=True)
class FrozenScorer:
    """Cosine of each item with the recency-weighted mean of the history's vectors.

    The mean is brought to unit length: that changes no ranking, but makes a score of 0.5 mean the
    same for a user of two events and of fifty, and so the head's mixing weights.

    Args:
        vectors: (V, D) float32, whitened, rows of unit length (or zero).
        decay: weight of an event relative to the one after it, in (0, 1].
    """

    vectors: torch.Tensor
    decay: float = 0.6

    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) float32 in [-1, 1]; zeros for a user without a history."""
        items, present = padded(histories)
        weights = recency_weights(present, self.decay)
        interest = torch.einsum("nl,nld->nd", weights, self.vectors[items])
        return torch.nn.functional.normalize(interest, dim=1) @ self.vectors.T


@dataclass(frozen=True)
class Frozen:
    """Round 0 of the interest model: the same vectors, the same weights, no adapters."""

    decay: float = 0.6

    def fit(self, train: Sequences, vectors: NDArray[np.float32]) -> FrozenScorer:
        """Take the vectors as they are: nothing is learned from the events."""
        return FrozenScorer(torch.from_numpy(np.ascontiguousarray(vectors, np.float32)), self.decay)
