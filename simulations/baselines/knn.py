"""Local kNN: item co-occurrence in the platform's own training events, and nothing else."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clients.recommending.head import BACKWARD, LocalHead, Mixing
from shared.events import Sequences


@dataclass(frozen=True)
class Knn:
    """The local head by itself, without popularity.

    Args:
        window: most steps between two events that count as together.
        backward: what an item that came before counts for, against one that came after.
        decay: weight of an event relative to the one after it, in (0, 1].
    """

    window: int = 5
    backward: float = BACKWARD
    decay: float = 0.6

    def fit(self, train: Sequences, vectors: NDArray[np.float32]) -> LocalHead:
        """Count co-occurrences; the vectors only say how many items there are."""
        return LocalHead.fit(
            train,
            len(vectors),
            window=self.window,
            backward=self.backward,
            decay=self.decay,
            mixing=Mixing(knn=1.0, popularity=0.0),
        )
