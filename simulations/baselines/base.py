"""What every system of the benchmark looks like to the evaluation.

Shape legend: `B` users, `L` history, `D` width, `V` items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from shared.events import Sequences


class Scorer(Protocol):
    """A system that is ready to rank a catalogue."""

    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) float32, higher is better.

        A user's scores may depend on that user's history alone; items of the history need not be
        masked, the evaluation leaves them out.  Callers never write into what is returned.
        """
        ...


class Baseline(Protocol):
    """A recipe that makes a scorer from what a platform may use on its own."""

    def fit(self, train: Sequences, vectors: NDArray[np.float32]) -> Scorer:
        """Learn from one platform's training events and its (V, D) catalogue vectors."""
        ...


@dataclass(frozen=True)
class Sum:
    """Scores of several systems, added up.

    Args:
        parts: the systems; the evaluation scores a part once per batch even if several sums, or
            the part by itself, are evaluated side by side.
    """

    parts: Sequence[Scorer]

    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) the sum over `parts`."""
        return self.add([part.scores(histories) for part in self.parts])

    @staticmethod
    def add(scored: Sequence[torch.Tensor]) -> torch.Tensor:
        """Add what the parts scored, leaving the parts' own tensors alone."""
        total = scored[0] + scored[1] if len(scored) > 1 else scored[0]
        for scores in scored[2:]:
            total += scores
        return total
