"""LSTM or GRU over item-text vectors with a sigmoid head: is this the next item or not?

The usual proposal for interests across platforms: item texts become vectors of a frozen encoder, a
recurrent network (LSTM: Hochreiter and Schmidhuber 1997; GRU4Rec, Hidasi et al. 2016, arXiv
1511.06939) reads a history of them, a dense layer with a sigmoid says for a candidate how likely it
comes next, and binary cross-entropy is taken on the real next item and uniformly drawn others.

    p(v | history) = sigmoid(s v . (W h + w) + b),   h the state after the newest event

with v the candidate's vector and s = sqrt(D), which gives unit vectors coordinates of about one.
A dense layer over h and v side by side would rank alike for everybody; in this bilinear form h and
v meet, and the whole catalogue is scored by one matrix product.

Shape legend: `B` users, `L` longest history of the batch, `D` width of the vectors, `V` items,
`N` events that are predicted, `K` drawn items of each.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from shared.events import Sequences
from simulations.baselines.learning import (
    History,
    Lesson,
    Progress,
    Schedule,
    learn,
    rectangle,
    require_items,
    require_settings,
    seeded,
)


class RecurrentNetwork(nn.Module):
    """Histories of vectors to W h + w after each event.

    Args:
        vectors: (V, D), frozen.
    """

    def __init__(
        self, vectors: torch.Tensor, *, cell: Literal["lstm", "gru"], hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.vectors: torch.Tensor
        width = vectors.shape[1]
        # not part of the state: early stopping would copy it every epoch
        self.register_buffer("vectors", vectors * width**0.5, persistent=False)
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        self.cell = kind(width, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, width)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """(B, L) int64, oldest first, to (B, L, D); padding after the newest is never read."""
        states, _ = self.cell(self.dropout(self.vectors[items]))
        interests: torch.Tensor = self.head(self.dropout(states))
        return interests


@dataclass(frozen=True)
class RecurrentScorer:
    """Logits of the sigmoid for every item of the catalogue.

    Args:
        network: trained.
        length: most recent events that are read.
    """

    network: RecurrentNetwork
    length: int

    @torch.no_grad()
    def scores(self, histories: list[NDArray[np.int32]]) -> torch.Tensor:
        """(B, V) float32 logits (probabilities would tie near 0 and 1); zeros without a history."""
        items, sizes = rectangle([history[-self.length :] for history in histories])
        interests = self.network(items)
        newest = interests[torch.arange(len(sizes)), (sizes - 1).clamp_min(0)]
        logits = newest @ self.network.vectors.T + self.network.bias
        return logits * (sizes > 0)[:, None]


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """The recurrent classifier, on a platform's own training events and public vectors.

    Args:
        seed: of weights, dropout, negatives, order of users and who is held back.
        cell: "lstm" or "gru".
        hidden: width of the state.
        dropout: of what the cell reads and of its states.
        negatives: K, uniformly drawn items that are not the next one, for every next one.
        length: most recent events that are read.
        batch, learning_rate: users of an Adam step, its rate.
        held_share: users whose last training event decides when to stop.
        epochs, patience, max_s: see `Schedule`.
        progress: called with (steps done, most steps).
    """

    seed: int
    cell: Literal["lstm", "gru"] = "lstm"
    hidden: int = 128
    dropout: float = 0.2
    negatives: int = 16
    length: int = 50
    batch: int = 256
    learning_rate: float = 1e-3
    held_share: float = 0.1
    epochs: int = 40
    patience: int = 3
    max_s: float | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        many = float("inf")
        require_settings(
            self,
            hidden=(1, many),
            dropout=(0, 0.99),
            negatives=(1, many),
            length=(1, many),
            batch=(1, many),
            learning_rate=(0, many),
            held_share=(0, 0.5),
            epochs=(1, many),
            patience=(1, many),
            max_s=(0, many),
        )

    def fit(self, train: Sequences, vectors: NDArray[np.float32]) -> RecurrentScorer:
        """Train on events and vectors.

        Raises:
            DataError: nobody has two events, or an event outside the catalogue.
        """
        require_items(train, len(vectors))
        lesson = Lesson.of(train, share=self.held_share, longest=self.length, seed=self.seed)
        schedule = Schedule(
            epochs=self.epochs,
            patience=self.patience,
            batch=self.batch,
            max_s=self.max_s,
            seed=self.seed,
        )
        with seeded(self.seed):
            network = RecurrentNetwork(
                torch.from_numpy(np.array(vectors, np.float32)),
                cell=self.cell,
                hidden=self.hidden,
                dropout=self.dropout,
            )
            optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)

            def step(batch: list[History]) -> None:
                optimiser.zero_grad()
                loss(network, batch, self.negatives).backward()
                optimiser.step()

            scorer = RecurrentScorer(network, self.length)
            learn(network, step, scorer, lesson, schedule, self.progress)
        return scorer


def loss(network: RecurrentNetwork, batch: list[History], negatives: int) -> torch.Tensor:
    """Binary cross-entropy, mean over the batch's N events and the 1 + K candidates of each."""
    inputs, sizes = rectangle([events[:-1] for events in batch])
    wanted, _ = rectangle([events[1:] for events in batch])
    present = torch.arange(inputs.shape[1]) < sizes[:, None]
    interests, real = network(inputs)[present], wanted[present]
    candidates = torch.cat([real[:, None], draw_others(real, negatives, len(network.vectors))], 1)
    logits = torch.einsum("nd,nkd->nk", interests, network.vectors[candidates]) + network.bias
    labels = torch.zeros_like(logits)
    labels[:, 0] = 1
    return functional.binary_cross_entropy_with_logits(logits, labels)


def draw_others(items: torch.Tensor, count: int, catalogue: int) -> torch.Tensor:
    """(N, K) items, uniform among the V - 1 that are not the row's own; none where V is 1."""
    if catalogue < 2:
        return items.new_empty((len(items), 0))
    steps = torch.randint(1, catalogue, (len(items), count))
    return (items[:, None] + steps) % catalogue
