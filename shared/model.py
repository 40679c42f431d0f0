"""The interest model: item vectors, adapted; a history's interest is their recency-weighted mean.

Shapes: `B` users, `L` history, `D` width, `V` items, `F` features, `R` columns of a block.

1. adapted item = vector + W features, brought back to its vector's length (1, or 0 for an item
   without text), with W (D, F) the adapter.  It starts at zero.
2. interest = recency-weighted mean of the history's adapted items, weight `decay ** k` for the
   event k steps back, brought to unit length.
3. score of an item = interest . adapted item: a cosine.  The adapter turns items and never
   stretches them: a length would say how popular an item was, and that does not last
   (docs/decisions/0006-turn-items-do-not-stretch-them.md).

So both sides of a score are adapted by the same W, and round 0 scores exactly as the frozen
baseline.  W is cut into blocks of at most `rank` columns.  A block is a LoRA pair: `lora_A` is
fixed (it picks the block's columns), `lora_B` (D, R) is trained.  A round trains one block, all
platforms the same: what is sent is small, the average of the updates is the update of the average,
and noise is not multiplied by noise (FFA-LoRA: Sun et al. 2024, arXiv 2403.12313).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shared.config.training import ModelSettings
from shared.errors import AdapterError
from shared.ground import Ground


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


def scales(ground: Ground, moved: torch.Tensor) -> torch.Tensor:
    """(V, 1) what brings moved items back to their vectors' lengths: exactly 1 where none moved.

    A constant to the gradient: what is left out of it points along the item, where a cosine does
    not look, and each user's gradient stays a handful of outer products.
    """
    own = ground.vectors.norm(dim=1, keepdim=True)
    return own / moved.detach().norm(dim=1, keepdim=True).clamp_min(1e-12)


def block_columns(features: int, rank: int) -> list[slice]:
    """Which of the F columns each block adapts: every K-th, so that all layers are in each.

    The blocks are disjoint, cover all columns, and differ in size by one at most.
    """
    blocks = -(-features // rank)
    return [slice(block, features, blocks) for block in range(blocks)]


class Block(nn.Module):
    """One LoRA pair; `lora_A` is not stored, it picks `columns`."""

    def __init__(self, columns: slice, features: int, width: int) -> None:
        super().__init__()
        self.columns = columns
        size = len(range(features)[columns])
        # on "meta" first: drawing random weights only to erase them takes longer than a demo round
        self.lora_B = nn.Linear(size, width, bias=False, device="meta")
        self.lora_B.weight = nn.Parameter(torch.zeros(width, size))


class InterestModel(nn.Module):
    """Item vectors and histories to adapted items and interest vectors.

    Args:
        settings: layers, decay, history length, rank.
        width: D of the item vectors; F is `settings.layers` times that.
    """

    def __init__(self, settings: ModelSettings, width: int) -> None:
        super().__init__()
        self.decay = settings.decay
        self.history_length = settings.history_length
        self.width, self.features = width, settings.layers * width
        self.blocks = nn.ModuleList(
            Block(columns, self.features, width)
            for columns in block_columns(self.features, settings.rank)
        )

    @property
    def names(self) -> list[str]:
        """The adapter's tensors, a block each, in the one order everybody uses."""
        return [f"blocks.{number:03d}.lora_B" for number in range(len(self.blocks))]

    def block(self, name: str) -> Block:
        """The block of a tensor's name.

        Raises:
            AdapterError: there is no such block.
        """
        if name not in self.names:
            raise AdapterError(
                expected=f"one of {self.names[0]} to {self.names[-1]}", got=name, where="adapter"
            )
        found = self.blocks[self.names.index(name)]
        if not isinstance(found, Block):
            raise AdapterError(expected="a block", got=type(found).__name__, where="adapter")
        return found

    @property
    def weight(self) -> torch.Tensor:
        """(D, F) W, put together from the blocks; differentiable."""
        whole = torch.zeros(self.width, self.features)
        for name in self.names:
            block = self.block(name)
            whole[:, block.columns] = block.lora_B.weight
        return whole

    def moved(self, ground: Ground) -> torch.Tensor:
        """(V, D) items moved by the adapter, of any length; affine in what is trained."""
        return ground.vectors + ground.features @ self.weight.T

    def items(self, ground: Ground) -> torch.Tensor:
        """(V, D) adapted items; differentiable with the lengths held constant, see `scales`."""
        moved = self.moved(ground)
        return moved * scales(ground, moved)

    def interests(
        self, adapted: torch.Tensor, items: torch.Tensor, present: torch.Tensor
    ) -> torch.Tensor:
        """(B, D) interest vectors of unit length; zeros for an empty history.

        Args:
            adapted: (V, D) from `items`.
            items: (B, L) int64 catalogue rows, newest first, anything where absent.
            present: (B, L) bool.
        """
        weights = recency_weights(present, self.decay)
        mean = torch.einsum("nl,nld->nd", weights, adapted[items])
        return nn.functional.normalize(mean, dim=-1)

    def load(self, adapter: dict[str, NDArray[np.float32]]) -> "InterestModel":
        """Take the adapter's tensors (see `shared.adapters`), and return this model.

        Raises:
            AdapterError: other names, shapes or dtype, or a number that is not finite.
        """
        if list(adapter) != self.names:
            raise AdapterError(
                expected=f"{len(self.names)} tensors, {self.names[0]} to {self.names[-1]}",
                got=f"{len(adapter)}: {list(adapter)[:3]}",
                where="adapter",
                remedy="The adapter belongs to another base model.",
            )
        for name, value in adapter.items():
            parameter = self.block(name).lora_B.weight
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
        for name, value in adapter.items():
            with torch.no_grad():
                self.block(name).lora_B.weight.copy_(torch.tensor(value))
        return self


def trained_in(names: Sequence[str], round_: int) -> list[str]:
    """The tensors that round `round_` (from 1) trains: one block, in turns."""
    return [names[(round_ - 1) % len(names)]]
