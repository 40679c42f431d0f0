"""Popularity: everybody is offered what most events of the platform were about."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from shared.events import Sequences


@dataclass(frozen=True)
class PopularityScorer:
    """The same (V,) float32 log-popularity for every user."""

    popularity: torch.Tensor

    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) view of the popularity."""
        return self.popularity.expand(len(histories), -1)


@dataclass(frozen=True)
class Popularity:
    """log(1 + training events of the item)."""

    def fit(self, train: Sequences, vectors: NDArray[np.float32]) -> PopularityScorer:
        """Count the training events per item; the vectors only say how many items there are."""
        counts = np.bincount(train.items, minlength=len(vectors))
        return PopularityScorer(torch.from_numpy(np.log1p(counts).astype(np.float32)))
