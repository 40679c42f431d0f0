"""Scores of a platform's whole catalogue for given histories: the shared model, ready to serve.

Shapes: `B` users, `L` history, `D` width, `V` items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from shared.adapters import Adapter
from shared.config.training import ModelSettings
from shared.ground import Ground
from shared.model import InterestModel, padded


@dataclass(frozen=True)
class InterestScorer:
    """The interest model over one platform's public ground.

    Args:
        model: with an adapter loaded; the initial one scores as the frozen baseline.
        ground: the platform's public items.
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

    @cached_property
    def items(self) -> torch.Tensor:
        """(V, D) adapted items, computed once."""
        with torch.inference_mode():
            return self.model.items(self.ground)

    @torch.inference_mode()
    def interests(self, histories: Sequence[NDArray[np.int32]]) -> torch.Tensor:
        """(B, D) interest vectors of unit length."""
        recent = [history[-self.model.history_length :] for history in histories]
        return self.model.interests(self.items, *padded(recent))

    @torch.inference_mode()
    def scores(self, histories: Sequence[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) float32, higher is better; zeros for a user without a history.

        A score is a cosine, so that the head's mixing weights mean the same for all users.
        """
        return self.interests(histories) @ self.items.T
