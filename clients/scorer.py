"""Scores of a platform's whole catalogue for given histories: the shared model, ready to serve.

Shapes: `B` users, `L` history, `D` width, `V` items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from shared.adapters import Adapter
from shared.config.training import ModelSettings
from shared.model import InterestModel, padded
from shared.training import Ground


@dataclass(frozen=True)
class InterestScorer:
    """The interest model over one platform's public ground.

    Args:
        model: with an adapter loaded; the initial one scores as the frozen baseline.
        ground: the platform's item vectors and place.
    """

    model: InterestModel
    ground: Ground

    @classmethod
    def of(cls, settings: ModelSettings, adapter: Adapter, ground: Ground) -> "InterestScorer":
        """Build the model of `settings` and load `adapter`.

        Raises:
            AdapterError: the adapter does not fit the base model.
        """
        return cls(InterestModel(settings, ground.vectors.shape[1]).load(adapter), ground)

    @torch.inference_mode()
    def interests(self, histories: Sequence[NDArray[np.int32]]) -> torch.Tensor:
        """(B, D) interest vectors."""
        recent = [history[-self.model.history_length :] for history in histories]
        items, present = padded(recent)
        features = self.model.features(self.ground.vectors, self.ground.place, items, present)
        found: torch.Tensor = self.model(features)
        return found

    @torch.inference_mode()
    def scores(self, histories: Sequence[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) float32 cosines, higher is better; an interest of length zero scores all alike.

        The length of an interest vector never changes one user's ranking; taking it out puts all
        users on the scale that the local head is mixed in on.
        """
        return F.normalize(self.interests(histories), dim=1) @ self.ground.vectors.T
