"""Frozen + kNN: the strongest system a platform can have without training anything."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clients.recommending.head import BACKWARD, LocalHead, Mixing
from shared.events import Sequences
from simulations.baselines.base import Sum
from simulations.baselines.frozen import Frozen


@dataclass(frozen=True)
class FrozenKnn:
    """frozen + 0.6 kNN + 0.02 log-popularity: the interest model at round 0 plus the local head.

    Args:
        window, backward: see `LocalHead.fit`.
        decay: weight of an event relative to the one after it, in (0, 1]; of both parts.
        mixing: weights of the head's parts.
    """

    window: int = 5
    backward: float = BACKWARD
    decay: float = 0.6
    mixing: Mixing = field(default_factory=Mixing)

    def fit(self, train: Sequences, vectors: NDArray[np.float32]) -> Sum:
        """Build both parts from one platform's training events and catalogue vectors."""
        head = LocalHead.fit(
            train,
            len(vectors),
            window=self.window,
            backward=self.backward,
            decay=self.decay,
            mixing=self.mixing,
        )
        return Sum((Frozen(self.decay).fit(train, vectors), head))
