"""The interest model: a history of item vectors -> an interest vector -> scores of all items.

Shapes: `B` users, `T` positions predicted per user, `L` history, `D` width, `V` items,
`F` features, `R` adapter rank.

1. A history is read at several speeds: the recency-weighted mean of its item vectors with weight
   `decay ** k` for the event k steps back.  The first speed is the frozen baseline.
2. interest = first mean + adapter(features), where the features are the means at every speed and
   the platform's place among the catalogues (a public constant of the platform).
3. score of an item = interest . item vector.

The adapter is one LoRA pair on a linear readout whose own weight is zero: `lora_A` (R, F) is a
fixed choice of directions, `lora_B` (D, R) is trained and starts at zero.  So round 0 scores
exactly as the frozen baseline, the average of updates is the update of the average, and noise on
`lora_B` is not multiplied by other noise (FFA-LoRA: Sun et al. 2024, arXiv 2403.12313).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shared.config.training import ModelSettings
from shared.errors import AdapterError

READOUT = "readout"


def recency_weights(present: torch.Tensor, decay: float) -> torch.Tensor:
    """(..., L) float32 weights, newest event first: `decay ** k`, normalised to sum 1.

    Args:
        present: (..., L) bool, False where a history has ended.  An empty history weighs nothing.
        decay: weight of an event relative to the one after it, in (0, 1].
    """
    back = torch.arange(present.shape[-1], dtype=torch.float64)
    weights = decay**back * present
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-300)
    return weights.to(torch.float32)


def padded(histories: Sequence[NDArray[np.int32]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Histories (oldest first) as a rectangle, newest first.

    Returns:
        (B, L) int64 catalogue rows, 0 where a history has ended, and (B, L) bool, False there.
    """
    sizes = torch.tensor([len(history) for history in histories], dtype=torch.int64)
    longest = max(1, int(sizes.max())) if len(histories) else 1
    items = np.zeros((len(histories), longest), np.int64)
    for row, history in enumerate(histories):
        items[row, : len(history)] = history[::-1]
    return torch.from_numpy(items), torch.arange(longest) < sizes[:, None]


@dataclass(frozen=True)
class Layout:
    """Where each kind of feature goes: how many of the R adapter inputs it gets.

    Args:
        width: D.
        speeds: number of decays.
        rank: R.
        context: inputs for the platform's place among the catalogues.
    """

    width: int
    speeds: int
    rank: int
    context: int

    @property
    def features(self) -> int:
        """F: the means at every speed, and the place."""
        return (self.speeds + 1) * self.width

    def lora_a(self) -> torch.Tensor:
        """(R, F) the fixed directions: the leading whitened axes of every speed, and of the place.

        Whitened axes are ordered by the public catalogues' variance, so the leading ones carry
        topics and the last ones spelling.  Speeds share the inputs equally, the first getting
        what is left over.
        """
        matrix = torch.zeros(self.rank, self.features)
        each = (self.rank - self.context) // self.speeds
        counts = [self.rank - self.context - each * (self.speeds - 1)]
        counts += [each] * (self.speeds - 1) + [self.context]
        row = 0
        for block, count in enumerate(counts):
            for axis in range(min(count, self.width)):
                matrix[row, block * self.width + axis] = 1.0
                row += 1
        return matrix


class Readout(nn.Module):
    """A linear layer with zero weight and a LoRA pair, named as PEFT names them."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.lora_A = nn.Linear(layout.features, layout.rank, bias=False)
        self.lora_B = nn.Linear(layout.rank, layout.width, bias=False)
        with torch.no_grad():
            self.lora_A.weight.copy_(layout.lora_a())
            self.lora_B.weight.zero_()
        self.lora_A.weight.requires_grad_(False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(..., F) -> (..., D)."""
        return self.lora_B(self.lora_A(features))


class InterestModel(nn.Module):
    """Histories to interest vectors.

    Args:
        settings: decays, history length, rank.
        width: D of the item vectors.
    """

    def __init__(self, settings: ModelSettings, width: int) -> None:
        super().__init__()
        self.decays = (settings.decay, *settings.slow_decays)
        self.history_length = settings.history_length
        self.layout = layout_of(settings, width)
        self.readout = Readout(self.layout)

    def features(
        self, vectors: torch.Tensor, place: torch.Tensor, items: torch.Tensor, present: torch.Tensor
    ) -> torch.Tensor:
        """(..., F) what the readout sees; nothing here is trained.

        Args:
            vectors: (V, D) whitened unit item vectors.
            place: (D,) the platform's place among the catalogues.
            items: (..., L) int64 catalogue rows, newest first, anything where absent.
            present: (..., L) bool.
        """
        shape = items.shape
        rows, here = items.reshape(-1, shape[-1]), present.reshape(-1, shape[-1])
        read = vectors[rows]
        means = [
            torch.einsum("nl,nld->nd", recency_weights(here, decay), read) for decay in self.decays
        ]
        blocks = [*means, place.expand(len(rows), -1)]
        joined = torch.cat(blocks, dim=-1)
        return joined.reshape(*shape[:-1], joined.shape[-1])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(..., F) features -> (..., D) interest vectors."""
        return features[..., : self.layout.width] + self.readout(features)

    def load(self, adapter: dict[str, NDArray[np.float32]]) -> "InterestModel":
        """Take the adapter's tensors (see `shared.adapters`), and return this model.

        Raises:
            AdapterError: other names, shapes or dtype, or a number that is not finite.
        """
        own = dict(self.trainable())
        if list(adapter) != list(own):
            raise AdapterError(
                expected=f"tensors {list(own)}",
                got=f"{list(adapter)}",
                where="adapter",
                remedy="The adapter belongs to another base model.",
            )
        for name, parameter in own.items():
            value = adapter[name]
            if value.shape != tuple(parameter.shape) or value.dtype != np.float32:
                raise AdapterError(
                    expected=f"float32 of shape {tuple(parameter.shape)}",
                    got=f"{value.dtype} of shape {value.shape}",
                    where=f"adapter, {name}",
                    remedy="The adapter belongs to another base model.",
                )
            if not np.isfinite(value).all():
                raise AdapterError(
                    expected="finite numbers", got="NaN or infinity", where=f"adapter, {name}"
                )
            with torch.no_grad():
                parameter.copy_(torch.tensor(value))
        return self

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """The trainable tensors by name, in the one order everybody uses."""
        return sorted((n, p) for n, p in self.named_parameters() if p.requires_grad)


def layout_of(settings: ModelSettings, width: int) -> Layout:
    """The adapter's layout for item vectors of `width`; the rank never exceeds the features."""
    speeds = 1 + len(settings.slow_decays)
    context = min(settings.context, width)
    rank = min(settings.rank, speeds * width + context)
    return Layout(width=width, speeds=speeds, rank=max(rank, speeds + context), context=context)
