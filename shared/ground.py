"""The public side of a platform: its items as the interest model reads them.

An item's text states at several layers of the frozen encoder become
- its *vector*, the last layer under the federation's whitening map (`shared.whitening`): what the
  frozen baseline scores with, and
- its *features*, what the adapter reads: every layer, each made even by its own spread.  Lower
  layers know words (a brand, a series), upper ones topics; mixing them is worth more than any of
  them (docs/decisions/0005-adapting-the-items.md).

All of it comes from the public catalogue, on the platform: no users, no messages.

Shapes: V items, H layers, D width, F = H * D features.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from shared.errors import DataError
from shared.whitening import Whitening, moments, spherical


@dataclass(frozen=True)
class Ground:
    """What a platform trains and scores on besides its users: public, fixed for a run.

    Args:
        vectors: (V, D) float32 unit item vectors.
        features: (V, F) float32, rows of about unit length; the last D columns are the vectors,
            divided by the root of the number of layers.
    """

    vectors: torch.Tensor
    features: torch.Tensor

    @classmethod
    def of(cls, states: NDArray[np.float32], whitening: Whitening) -> "Ground":
        """The ground of a catalogue with text states (V, H, D), the last layer last.

        Raises:
            DataError: states of another shape, or not finite.
            ProtocolError: the whitening map belongs to another encoder.
        """
        if states.ndim != 3 or not states.size:
            raise DataError(
                expected="text states (V, H, D)", got=f"shape {states.shape}", where="items"
            )
        last = states[:, -1]
        vectors = whitening.local(moments(last)).items(last)
        parts = [spherical(states[:, layer]) for layer in range(states.shape[1] - 1)]
        features = np.concatenate([*parts, vectors], axis=1) / np.float32(states.shape[1] ** 0.5)
        return cls(torch.from_numpy(vectors), torch.from_numpy(features))
